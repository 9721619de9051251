//! How much memory the process holds.

use sysinfo::{ProcessRefreshKind, ProcessesToUpdate, System};

/// Bytes of physical memory of this process; `None` where the system does not say.
pub(crate) fn resident_bytes() -> Option<u64> {
    let own = sysinfo::get_current_pid().ok()?;
    let what = ProcessRefreshKind::nothing().with_memory().without_tasks();
    let mut system = System::new();
    system.refresh_processes_specifics(ProcessesToUpdate::Some(&[own]), false, what);
    let bytes = system.process(own)?.memory();
    (bytes > 0).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn it_grows_by_what_is_written_to() {
        let before = resident_bytes();
        // A whole number of pages, each of them touched.
        let held = std::hint::black_box(vec![1u8; 64 << 20]);
        let after = resident_bytes();
        assert_eq!(held[held.len() / 2], 1);
        let grown = after.zip(before).map(|(after, before)| after - before);
        // Other tests of this process allocate and free meanwhile.
        assert!(grown > Some(32 << 20), "{before:?} to {after:?}");
    }
}
