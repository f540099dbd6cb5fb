//! Platforms: `os[/arch[/variant]]`, normalised as containerd does.
//!
//! Normal form leaves out what is implied: `arm64/v8` is `arm64`, `amd64/v1` is `amd64`; `arm` alone is
//! `arm/v7`. A platform runs images of older variants too, see [`Platform::candidates`].

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Descriptor, Index};

/// Marks a manifest of an index as an attestation about another one.
const REFERENCE_TYPE: &str = "vnd.docker.reference.type";
const UNKNOWN: &str = "unknown";

const SYSTEMS: [&str; 19] = [
    "aix",
    "android",
    "darwin",
    "dragonfly",
    "freebsd",
    "hurd",
    "illumos",
    "ios",
    "js",
    "linux",
    "nacl",
    "netbsd",
    "openbsd",
    "plan9",
    "solaris",
    "unknown",
    "wasip1",
    "windows",
    "zos",
];
const ARCHITECTURES: [&str; 25] = [
    "386",
    "amd64",
    "amd64p32",
    "arm",
    "arm64",
    "arm64be",
    "armbe",
    "loong64",
    "mips",
    "mips64",
    "mips64le",
    "mips64p32",
    "mips64p32le",
    "mipsle",
    "ppc",
    "ppc64",
    "ppc64le",
    "riscv",
    "riscv64",
    "s390",
    "s390x",
    "sparc",
    "sparc64",
    "unknown",
    "wasm",
];

/// Why a text is not a platform.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlatformError {
    /// A component is empty or has other characters than letters, digits, `_`, `.` and `-`.
    #[error(
        "\"{component}\" is an invalid component of \"{text}\": \
         platform specifier component must match \"^[A-Za-z0-9_.-]+$\": invalid argument"
    )]
    Component {
        /// The text given.
        text: String,
        /// The malformed component.
        component: String,
    },
    /// A single word is neither a known operating system nor a known architecture.
    #[error(
        "invalid platform `{0}`: unknown operating system or architecture (expected os/arch[/variant], such as linux/arm64)"
    )]
    Unknown(String),
    /// There are more than three components.
    #[error("invalid platform `{0}`: expected os/arch[/variant], such as linux/arm64")]
    Shape(String),
}

/// What an image runs on.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Platform {
    /// CPU architecture, as Go names it.
    pub architecture: String,
    /// Operating system, as Go names it.
    pub os: String,
    /// Operating system version (Windows).
    #[serde(default, rename = "os.version", skip_serializing_if = "Option::is_none")]
    pub os_version: Option<String>,
    /// Operating system features (Windows).
    #[serde(default, rename = "os.features", skip_serializing_if = "Vec::is_empty")]
    pub os_features: Vec<String>,
    /// CPU variant, such as `v7`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

impl Platform {
    /// Returns a normalised platform.
    pub fn new(os: &str, architecture: &str, variant: Option<&str>) -> Self {
        Self {
            os: os.to_owned(),
            architecture: architecture.to_owned(),
            variant: variant.map(str::to_owned),
            os_version: None,
            os_features: Vec::new(),
        }
        .normalise()
    }

    /// Returns the platform this program was compiled for, which is the one it runs on.
    pub fn host() -> Self {
        let architecture = match std::env::consts::ARCH {
            "x86" => "386",
            "powerpc" => "ppc",
            "powerpc64" if cfg!(target_endian = "little") => "ppc64le",
            "powerpc64" => "ppc64",
            "mips64" if cfg!(target_endian = "little") => "mips64le",
            "mips" if cfg!(target_endian = "little") => "mipsle",
            "loongarch64" => "loong64",
            other => other,
        };
        Self::new("linux", architecture, None)
    }

    /// Reads `os`, `arch`, `os/arch` or `os/arch/variant`, normalised; what is missing is the host's.
    ///
    /// # Errors
    /// Says what is malformed; single words must be known.
    pub fn parse(text: &str) -> Result<Self, PlatformError> {
        let shown = || text.chars().take(100).collect::<String>();
        let parts: Vec<&str> = text.splitn(4, '/').collect();
        let (first, version) = split_version(parts[0]);
        let word =
            |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b));
        let all = [first].into_iter().chain(version).chain(parts[1..].iter().copied());
        if let Some(component) = all.into_iter().find(|part| !word(part)) {
            let component = component.chars().take(100).collect();
            return Err(PlatformError::Component { text: shown(), component });
        }
        let host = Self::host();
        let mut platform = match parts[1..] {
            [] => {
                let system = Self::new(first, &host.architecture, host.variant.as_deref());
                if SYSTEMS.contains(&system.os.as_str()) {
                    system
                } else {
                    let architecture = Self::new(&host.os, first, None);
                    if version.is_some() || !ARCHITECTURES.contains(&architecture.architecture.as_str()) {
                        return Err(PlatformError::Unknown(shown()));
                    }
                    architecture
                }
            }
            [architecture] => Self::new(first, architecture, None),
            [architecture, variant] => Self::new(first, architecture, Some(variant)),
            _ => return Err(PlatformError::Shape(shown())),
        };
        platform.os_version = version.map(str::to_owned);
        Ok(platform)
    }

    /// Returns the names of the operating systems and architectures there are.
    pub fn known_names() -> impl Iterator<Item = &'static str> {
        SYSTEMS.into_iter().chain(ARCHITECTURES)
    }

    /// Returns the normal form: Go's names, implied variants left out.
    pub fn normalise(mut self) -> Self {
        self.os = match self.os.to_lowercase().as_str() {
            "macos" => "darwin".to_owned(),
            other => other.to_owned(),
        };
        let variant = self.variant.take().unwrap_or_default().to_lowercase();
        let (architecture, variant) = normalise_architecture(&self.architecture.to_lowercase(), &variant);
        self.architecture = architecture;
        self.variant = Some(variant).filter(|variant| !variant.is_empty());
        self
    }

    /// Returns the platforms whose images run here, best first: this one, then older variants, then the
    /// 32-bit one of the family.
    pub fn candidates(&self) -> Vec<Self> {
        let this = self.clone().normalise();
        let mut list = vec![this.clone()];
        let mut push = |architecture: &str, variant: Option<String>| {
            let other = Self { architecture: architecture.to_owned(), variant, ..this.clone() };
            list.push(other.normalise());
        };
        let number = this.variant.as_deref().and_then(|v| v.trim_start_matches('v').parse::<u32>().ok());
        match this.architecture.as_str() {
            "amd64" => {
                (1..number.unwrap_or(1)).rev().for_each(|n| push("amd64", Some(format!("v{n}"))));
                push("386", None);
            }
            "arm" => (5..number.unwrap_or(7)).rev().for_each(|n| push("arm", Some(format!("v{n}")))),
            "arm64" => {
                older_arm64(this.variant.as_deref().unwrap_or("v8")).into_iter().for_each(|v| push("arm64", Some(v)));
                (5..=8).rev().for_each(|n| push("arm", Some(format!("v{n}"))));
            }
            _ => {}
        }
        list
    }

    /// Whether both name the same platform, whatever their form.
    pub fn same(&self, other: &Self) -> bool {
        let (a, b) = (self.clone().normalise(), other.clone().normalise());
        a.os == b.os && a.architecture == b.architecture && a.variant == b.variant
    }

    /// Whether an image for `other` runs here.
    pub fn matches(&self, other: &Self) -> bool {
        self.candidates().iter().any(|candidate| candidate.same(other))
    }

    /// Returns the manifest of `index` that runs here best, never an attestation.
    ///
    /// A manifest that does not tell its platform is taken only if no other matches.
    pub fn best<'a>(&self, index: &'a Index) -> Option<&'a Descriptor> {
        let images: Vec<&Descriptor> = index.manifests.iter().filter(|entry| !is_attestation(entry)).collect();
        let named = self.candidates().into_iter().find_map(|candidate| {
            let fits = |entry: &&Descriptor| entry.platform.as_ref().is_some_and(|p| candidate.same(p));
            let version = |entry: &&Descriptor| {
                fits(entry) && entry.platform.as_ref().is_some_and(|p| p.os_version == self.os_version)
            };
            let exact = images.iter().copied().find(version).filter(|_| self.os_version.is_some());
            exact.or_else(|| images.iter().copied().find(fits))
        });
        let unnamed = || images.iter().copied().find(|entry| entry.platform.is_none() && entry.artifact_type.is_none());
        named.or_else(unnamed)
    }
}

/// Whether an entry of an index is an attestation rather than an image.
pub fn is_attestation(entry: &Descriptor) -> bool {
    let marked = entry.annotations.get(REFERENCE_TYPE).is_some_and(|kind| kind == "attestation-manifest");
    let unknown = entry.platform.as_ref().is_some_and(|p| p.os == UNKNOWN && p.architecture == UNKNOWN);
    marked || unknown
}

/// `os/arch[/variant]`.
impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) => write!(f, "/{variant}"),
            None => Ok(()),
        }
    }
}

impl FromStr for Platform {
    type Err = PlatformError;

    fn from_str(text: &str) -> Result<Self, PlatformError> {
        Self::parse(text)
    }
}

/// Splits `windows(10.0.17763)`.
fn split_version(text: &str) -> (&str, Option<&str>) {
    match text.strip_suffix(')').and_then(|open| open.split_once('(')) {
        Some((os, version)) => (os, Some(version)),
        None => (text, None),
    }
}

fn normalise_architecture(architecture: &str, variant: &str) -> (String, String) {
    let (architecture, variant) = match (architecture, variant) {
        ("i386", _) => ("386", ""),
        ("x86_64" | "x86-64" | "amd64", "v1") => ("amd64", ""),
        ("x86_64" | "x86-64", variant) => ("amd64", variant),
        ("aarch64" | "arm64", "8" | "v8" | "v8.0") => ("arm64", ""),
        ("aarch64" | "arm64", "9" | "9.0" | "v9.0") => ("arm64", "v9"),
        ("aarch64", variant) => ("arm64", variant),
        ("armhf", _) | ("arm", "" | "7") => ("arm", "v7"),
        ("armel", _) | ("arm", "6") => ("arm", "v6"),
        ("arm", "5") => ("arm", "v5"),
        ("arm", "8") => ("arm", "v8"),
        other => other,
    };
    (architecture.to_owned(), variant.to_owned())
}

/// Lists the variants below `v8.x` or `v9.x`; `v9.x` includes `v8.(x+5)`.
fn older_arm64(variant: &str) -> Vec<String> {
    let (major, minor) =
        variant.trim_start_matches('v').split_once('.').unwrap_or((variant.trim_start_matches('v'), "0"));
    let (Ok(major), Ok(minor)) = (major.parse::<u32>(), minor.parse::<u32>()) else { return Vec::new() };
    let minor = minor.min(9);
    let name = |major: u32, minor: u32| if minor == 0 { format!("v{major}") } else { format!("v{major}.{minor}") };
    let below = |major: u32, minor: u32| (0..minor).rev().map(move |m| name(major, m));
    match major {
        8 => below(8, minor).collect(),
        9 => below(9, minor).chain(below(8, minor + 6)).collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
#[path = "platform_tests.rs"]
mod tests;
