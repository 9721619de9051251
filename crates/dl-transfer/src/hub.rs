//! From `--weights FILE|FOLDER|HUB-ID` to a local file.

use std::path::{Path, PathBuf};

use crate::error::Error;

/// Files of weights that are looked for in a folder or on the hub, best first.
const FILES: [&str; 2] = ["model.safetensors", "pytorch_model.bin"];
/// Endings of weights files; a name with one of them is never a hub id.
const ENDINGS: [&str; 4] = ["safetensors", "pth", "pt", "bin"];

/// Where the hub is, and whether it may be asked.
///
/// ```
/// use dl_transfer::HubOptions;
/// let options = HubOptions { offline: true, ..Default::default() };
/// assert_eq!(options.endpoint, None);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HubOptions {
    /// Base URL. Default: `HF_ENDPOINT`, else the Hugging Face hub.
    pub endpoint: Option<String>,
    /// Cache folder. Default: `HF_HUB_CACHE`, else `$HF_HOME/hub`, else
    /// `~/.cache/huggingface/hub`; shared with Python's `huggingface_hub`.
    pub cache: Option<PathBuf>,
    /// Whether only the cache is looked at. [`from_env`](Self::from_env) takes `HF_HUB_OFFLINE`.
    pub offline: bool,
}

impl HubOptions {
    /// The defaults, offline if `HF_HUB_OFFLINE` says so (`1`, `true`, `yes` or `on`, as in
    /// Python).
    pub fn from_env() -> Self {
        let offline = std::env::var("HF_HUB_OFFLINE").unwrap_or_default();
        let offline = offline.to_lowercase();
        Self {
            offline: ["1", "true", "yes", "on"].contains(&offline.as_str()),
            ..Self::default()
        }
    }
}

/// The local file that `--weights` means: a file, a folder with `model.safetensors` or
/// `pytorch_model.bin` in it, or a hub id `owner/name[@revision]`.
///
/// The local cache is tried before the network; with `HF_HUB_OFFLINE=1` nothing else is. A hub id
/// needs the feature `hub`.
///
/// ```
/// use dl_transfer::{Error, resolve_weights};
/// let error = resolve_weights("no/such/model.safetensors").unwrap_err();
/// assert!(matches!(error, Error::NoSuchFile { .. }));
/// ```
pub fn resolve_weights(weights: &str) -> Result<PathBuf, Error> {
    resolve_weights_with(weights, &HubOptions::from_env())
}

/// [`resolve_weights`] with the hub given by hand.
pub fn resolve_weights_with(weights: &str, options: &HubOptions) -> Result<PathBuf, Error> {
    let path = Path::new(weights);
    if path.is_dir() {
        return file_in_folder(path);
    }
    if path.exists() {
        return Ok(path.to_path_buf());
    }
    let ending = path.extension().and_then(|ending| ending.to_str());
    let is_path = weights.starts_with(['.', '/', '~']) || weights.contains('\\');
    if is_path || ending.is_some_and(|ending| ENDINGS.contains(&ending)) {
        let path = path.to_path_buf();
        return Err(Error::NoSuchFile { path });
    }
    let id = HubId::parse(weights).ok_or_else(|| Error::BadHubId {
        id: weights.to_string(),
    })?;
    fetch(&id, options)
}

fn file_in_folder(folder: &Path) -> Result<PathBuf, Error> {
    let mut files = FILES.iter().map(|name| folder.join(name));
    files
        .find(|file| file.is_file())
        .ok_or_else(|| Error::NoWeightsInFolder {
            path: folder.to_path_buf(),
            looked_for: FILES.to_vec(),
        })
}

/// `owner/name`, optionally `@revision`.
#[derive(Debug, PartialEq)]
#[cfg_attr(not(feature = "hub"), allow(dead_code))]
struct HubId<'a> {
    text: &'a str,
    owner: &'a str,
    name: &'a str,
    revision: Option<&'a str>,
}

impl<'a> HubId<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let (id, revision) = match text.split_once('@') {
            Some((id, revision)) => (id, Some(revision)),
            None => (text, None),
        };
        let (owner, name) = id.split_once('/')?;
        let plain = |part: &str| {
            let ok = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
            !part.is_empty() && !part.contains("..") && part.chars().all(ok)
        };
        let valid = plain(owner) && plain(name) && revision != Some("");
        valid.then_some(Self {
            text,
            owner,
            name,
            revision,
        })
    }
}

#[cfg(not(feature = "hub"))]
fn fetch(id: &HubId<'_>, _: &HubOptions) -> Result<PathBuf, Error> {
    let id = id.text.to_string();
    Err(Error::HubDisabled { id })
}

#[cfg(feature = "hub")]
fn fetch(id: &HubId<'_>, options: &HubOptions) -> Result<PathBuf, Error> {
    let failed = |source: hf_hub::HFError| Error::Hub {
        id: id.text.to_string(),
        source: Box::new(source),
    };
    let client = client(options).map_err(failed)?;
    let cache = client.cache_dir().to_path_buf();
    let client = hf_hub::HFClientSync::from_inner(client).map_err(failed)?;
    let model = client.model(id.owner, id.name);
    let download = |file: &str, local: bool| {
        let revision = id.revision.map(str::to_string);
        let request = model
            .download_file()
            .filename(file)
            .maybe_revision(revision);
        request.local_files_only(local).send()
    };
    // A cached safetensors file is as good as a fresh look, and costs no request.
    if let Some(path) = FILES.iter().find_map(|file| download(file, true).ok()) {
        return Ok(path);
    }
    if options.offline {
        let id = id.text.to_string();
        return Err(Error::HubOffline { id, cache });
    }
    for file in FILES {
        match download(file, false) {
            Ok(path) => return Ok(path),
            Err(hf_hub::HFError::EntryNotFound { .. }) => {}
            Err(source) => return Err(failed(source)),
        }
    }
    Err(Error::HubNoWeights {
        id: id.text.to_string(),
        looked_for: FILES.to_vec(),
    })
}

#[cfg(feature = "hub")]
fn client(options: &HubOptions) -> Result<hf_hub::HFClient, hf_hub::HFError> {
    let mut builder = hf_hub::HFClient::builder();
    if let Some(endpoint) = &options.endpoint {
        builder = builder.endpoint(endpoint);
    }
    if let Some(cache) = &options.cache {
        builder = builder.cache_dir(cache);
    }
    builder.build()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_an_owner_and_plain_characters() {
        let id = HubId::parse("timm/resnet18.a1_in1k@v1").unwrap();
        assert_eq!(
            (id.owner, id.name, id.revision),
            ("timm", "resnet18.a1_in1k", Some("v1"))
        );
        for bad in ["gpt2", "a/b/c", "a/../b", "/b", "a/", "a b/c", "a/b@"] {
            assert_eq!(HubId::parse(bad), None, "{bad}");
        }
    }
}
