//! Numbers as people read them.

/// Seconds as `1 h 02 min`, `3 min 07 s`, `4.56 s` or `7.8 ms`.
pub(super) fn duration(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match seconds {
        ..0.9995 => format!("{:.1} ms", seconds * 1e3),
        ..99.995 => format!("{seconds:.2} s"),
        ..3599.5 => format!("{} min {:02} s", whole / 60, whole % 60),
        _ => {
            let minutes = (seconds / 60.).round() as u64;
            format!("{} h {:02} min", minutes / 60, minutes % 60)
        }
    }
}

/// Bytes in decimal units, as the system's file manager shows them.
pub(super) fn bytes(bytes: f64) -> String {
    match bytes {
        ..1e3 => format!("{bytes:.0} B"),
        ..1e6 => format!("{:.1} kB", bytes / 1e3),
        ..1e9 => format!("{:.1} MB", bytes / 1e6),
        _ => format!("{:.2} GB", bytes / 1e9),
    }
}

/// A metric: four decimals where they tell anything, else an exponent.
pub(super) fn number(value: f64) -> String {
    match value.abs() {
        0. => "0".to_string(),
        1e-3..1e6 => format!("{value:.4}"),
        _ if value.is_finite() => format!("{value:.3e}"),
        _ => value.to_string(),
    }
}

/// A share of one in percent.
pub(super) fn percent(share: f64) -> String {
    match share.is_finite() {
        true => format!("{:.2} %", share * 100.),
        false => "–".to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_as_long_as_they_tell_something() {
        let times = [0., 0.9996, 12.345, 187.2, 3599.4, 3599.6, 86_399., 1e6];
        let wanted = [
            "0.0 ms",
            "1.00 s",
            "12.35 s",
            "3 min 07 s",
            "59 min 59 s",
            "1 h 00 min",
            "24 h 00 min",
            "277 h 47 min",
        ];
        assert_eq!(times.map(duration), wanted);
        let sizes = [0., 999., 1500., 2.5e6, 3.21e9].map(bytes);
        assert_eq!(sizes, ["0 B", "999 B", "1.5 kB", "2.5 MB", "3.21 GB"]);
        let numbers = [0., 0.5, -2.25, 1e-5, 3e7, f64::NAN, f64::INFINITY].map(number);
        assert_eq!(
            numbers,
            [
                "0", "0.5000", "-2.2500", "1.000e-5", "3.000e7", "NaN", "inf"
            ]
        );
        assert_eq!([0.12345, f64::NAN].map(percent), ["12.35 %", "–"]);
    }
}
