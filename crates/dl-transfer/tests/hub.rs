//! `--weights`: files, folders, and a hub that is a server in this process.
#![allow(clippy::unwrap_used)]

use dl_transfer::{Error, resolve_weights};

#[test]
fn a_file_is_taken_as_it_is_and_a_folder_by_its_best_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let resolve = |path: &std::path::Path| resolve_weights(path.to_str().unwrap());
    let error = resolve(folder.path()).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("model.safetensors, pytorch_model.bin"),
        "{error}"
    );
    std::fs::write(path("pytorch_model.bin"), "x").unwrap();
    assert_eq!(resolve(folder.path()).unwrap(), path("pytorch_model.bin"));
    std::fs::write(path("model.safetensors"), "x").unwrap();
    assert_eq!(resolve(folder.path()).unwrap(), path("model.safetensors"));
    assert_eq!(
        resolve(&path("pytorch_model.bin")).unwrap(),
        path("pytorch_model.bin")
    );
}

#[test]
fn a_mistyped_file_is_not_looked_up_on_the_hub() {
    for typo in ["weights/modle.safetensors", "./timm/resnet18", "model.pth"] {
        assert!(
            matches!(resolve_weights(typo), Err(Error::NoSuchFile { .. })),
            "{typo}"
        );
    }
    assert!(matches!(
        resolve_weights("resnet18"),
        Err(Error::BadHubId { .. })
    ));
}

#[cfg(not(feature = "hub"))]
#[test]
fn a_hub_id_without_the_feature_tells_how_to_enable_it() {
    let error = resolve_weights("timm/resnet18").unwrap_err().to_string();
    assert!(error.contains("--features hub"), "{error}");
}

#[cfg(feature = "hub")]
mod hub {
    use std::io::{BufRead, BufReader, Write};
    use std::net::{TcpListener, TcpStream};
    use std::path::Path;
    use std::sync::{Arc, Mutex};

    use dl_transfer::{Error, HubOptions, resolve_weights_with};

    const WEIGHTS: &[u8] = b"the weights";

    /// A hub with one repository `owner/model` of one file, and the requests it has seen.
    struct Hub {
        endpoint: String,
        requests: Arc<Mutex<Vec<String>>>,
    }

    impl Hub {
        fn start(file: &'static str) -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let endpoint = format!("http://{}", listener.local_addr().unwrap());
            let requests = Arc::<Mutex<Vec<String>>>::default();
            let seen = requests.clone();
            std::thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    let seen = seen.clone();
                    std::thread::spawn(move || answer(stream, file, &seen));
                }
            });
            Self { endpoint, requests }
        }

        fn options(&self, cache: &Path, offline: bool) -> HubOptions {
            HubOptions {
                endpoint: Some(self.endpoint.clone()),
                cache: Some(cache.to_path_buf()),
                offline,
            }
        }

        fn request_count(&self) -> usize {
            self.requests.lock().unwrap().len()
        }
    }

    fn answer(stream: TcpStream, file: &str, seen: &Mutex<Vec<String>>) {
        let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
        let request = lines.next().unwrap().unwrap();
        while !lines.next().unwrap().unwrap().is_empty() {}
        seen.lock().unwrap().push(request.clone());
        let found = request.contains(&format!("/owner/model/resolve/main/{file} "));
        let head = match found {
            true => format!(
                "HTTP/1.1 200 OK\r\nETag: \"0123456789abcdef\"\r\nX-Repo-Commit: {}\r\n\
                 Content-Length: {}\r\n",
                "a".repeat(40),
                WEIGHTS.len()
            ),
            false => "HTTP/1.1 404 Not Found\r\nX-Error-Code: EntryNotFound\r\n\
                      Content-Length: 0\r\n"
                .into(),
        };
        let mut stream = stream;
        write!(stream, "{head}Connection: close\r\n\r\n").unwrap();
        if found && request.starts_with("GET") {
            stream.write_all(WEIGHTS).unwrap();
        }
    }

    #[test]
    fn a_file_is_fetched_once_and_then_taken_from_the_cache_without_a_request() {
        let cache = tempfile::tempdir().unwrap();
        let hub = Hub::start("model.safetensors");
        let options = hub.options(cache.path(), false);
        let path = resolve_weights_with("owner/model", &options).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), WEIGHTS);
        let requests = hub.request_count();
        assert!(requests > 0);
        assert_eq!(resolve_weights_with("owner/model", &options).unwrap(), path);
        let offline = hub.options(cache.path(), true);
        assert_eq!(resolve_weights_with("owner/model", &offline).unwrap(), path);
        assert_eq!(hub.request_count(), requests);
    }

    #[test]
    fn a_repository_of_pytorch_files_gives_its_pytorch_file() {
        let cache = tempfile::tempdir().unwrap();
        let hub = Hub::start("pytorch_model.bin");
        let path = resolve_weights_with("owner/model", &hub.options(cache.path(), false)).unwrap();
        assert!(path.ends_with("pytorch_model.bin"));
    }

    #[test]
    fn a_repository_without_weights_says_what_was_looked_for() {
        let cache = tempfile::tempdir().unwrap();
        let hub = Hub::start("README.md");
        let error = resolve_weights_with("owner/model", &hub.options(cache.path(), false));
        assert!(
            matches!(error, Err(Error::HubNoWeights { .. })),
            "{error:?}"
        );
    }

    #[test]
    fn offline_asks_nobody_and_says_what_to_do() {
        let cache = tempfile::tempdir().unwrap();
        let hub = Hub::start("model.safetensors");
        let error = resolve_weights_with("owner/model", &hub.options(cache.path(), true));
        let text = error.unwrap_err().to_string();
        assert!(
            text.contains("HF_HUB_OFFLINE") && text.contains("`owner/model`"),
            "{text}"
        );
        assert_eq!(hub.request_count(), 0);
    }

    #[test]
    fn an_unreachable_hub_is_an_error_with_the_id() {
        let cache = tempfile::tempdir().unwrap();
        // A port that was free a moment ago: connections are refused.
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let options = HubOptions {
            endpoint: Some(format!("http://127.0.0.1:{port}")),
            cache: Some(cache.path().to_path_buf()),
            offline: false,
        };
        let text = resolve_weights_with("owner/model", &options)
            .unwrap_err()
            .to_string();
        assert!(
            text.starts_with("cannot fetch `owner/model` from the hub"),
            "{text}"
        );
    }
}
