//! `RUN --device=name[,required]`

use crate::{csv, literal, suggest};

/// A device of a `RUN`, by its CDI name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Device {
    /// The CDI name (`vendor.com/class=name`).
    pub name: String,
    /// Whether the step fails without it.
    pub required: bool,
}

/// Why a `--device` could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum DeviceError {
    #[error("failed to parse csv devices: {0}")]
    Csv(String),
    #[error("invalid field '{0}' must be a key=value pair")]
    NoValue(String),
    #[error("device name already set to {0}")]
    NameTwice(String),
    #[error("invalid value for {key}: {value}")]
    InvalidValue { key: String, value: String },
    #[error("unexpected key '{key}' in '{field}'")]
    UnexpectedKey { key: String, field: String, suggestion: Option<String> },
}

impl DeviceError {
    /// Returns the nearest valid word, if there is one.
    pub fn suggestion(&self) -> Option<&str> {
        match self {
            Self::UnexpectedKey { suggestion, .. } => suggestion.as_deref(),
            _ => None,
        }
    }
}

impl Device {
    /// Reads the value of a `--device`; it takes no variables.
    pub fn parse(text: &str) -> Result<Self, DeviceError> {
        let mut device = Self::default();
        for field in csv::fields(text).map_err(DeviceError::Csv)? {
            let (key, value) = match field.split_once('=') {
                Some((key, value)) => (key.to_lowercase(), Some(value)),
                None => (field.to_lowercase(), None),
            };
            match (key.as_str(), value) {
                ("required", None) => device.required = true,
                ("required", Some(value)) => {
                    let invalid = || DeviceError::InvalidValue { key: key.clone(), value: value.to_owned() };
                    device.required = literal::boolean(value).ok_or_else(invalid)?;
                }
                ("name", Some(_)) if !device.name.is_empty() => return Err(DeviceError::NameTwice(device.name)),
                ("name", Some(value)) => value.clone_into(&mut device.name),
                _ if device.name.is_empty() => device.name = field,
                (_, None) => return Err(DeviceError::NoValue(field)),
                (key, Some(_)) => {
                    let suggestion = suggest::nearest(key, ["name", "required"], true);
                    return Err(DeviceError::UnexpectedKey { key: key.to_owned(), field: field.clone(), suggestion });
                }
            }
        }
        Ok(device)
    }
}
