//! Which records a client asks for.
//!
//! Several filters: any of them. The parts of one, separated by commas as in CSV: all of them. A part compares
//! `ref`, `status` or `repository` by `==`, `!=` or `~=` (a regular expression), or `startedAt`, `completedAt` (a
//! time, or how long ago) and `duration` by `<`, `<=`, `>` and `>=`.

use std::time::{Duration, SystemTime};

use prost_types::Timestamp;
use rbuild_buildkit_api::control::BuildHistoryRecord;
use regex::{Regex, RegexBuilder};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::HistoryError;
use crate::config::space::duration;

/// Most bytes of all filters, and most memory of one expression.
const MOST_BYTES: usize = 64 << 10;
const EXPRESSION: usize = 1 << 20;

/// The filters of a request.
#[derive(Debug)]
pub(super) struct Filters(Vec<Vec<Condition>>);

#[derive(Debug)]
enum Condition {
    Is(Field, String),
    IsNot(Field, String),
    Like(Field, Regex),
    Time(Moment, Order, i128),
}

#[derive(Debug, Clone, Copy)]
enum Field {
    Ref,
    Status,
    Repository,
}

#[derive(Debug, Clone, Copy)]
enum Moment {
    Started,
    Completed,
    Duration,
}

#[derive(Debug, Clone, Copy)]
enum Order {
    Below,
    AtMost,
    Above,
    AtLeast,
}

impl Filters {
    pub(super) fn parse(filters: &[String], now: SystemTime) -> Result<Self, HistoryError> {
        if filters.iter().map(String::len).sum::<usize>() > MOST_BYTES {
            return Err(HistoryError::Filter("…".to_owned(), "too long".to_owned()));
        }
        let parse = |filter: &String| {
            let refused = |reason| HistoryError::Filter(filter.clone(), reason);
            let parts = fields(filter).map_err(refused)?;
            parts.iter().map(|part| condition(part, now).map_err(refused)).collect()
        };
        filters.iter().map(parse).collect::<Result<_, _>>().map(Self)
    }

    /// Returns the records that are asked for; with a limit other than 0, that many of the youngest.
    pub(super) fn select(&self, mut records: Vec<BuildHistoryRecord>, limit: usize) -> Vec<BuildHistoryRecord> {
        records.retain(|record| self.matches(record));
        if limit > 0 {
            records.sort_by_key(|record| std::cmp::Reverse(nanoseconds(record.created_at.as_ref())));
            records.truncate(limit);
        }
        records
    }

    fn matches(&self, record: &BuildHistoryRecord) -> bool {
        self.0.is_empty() || self.0.iter().any(|all| all.iter().all(|condition| condition.matches(record)))
    }
}

impl Condition {
    fn matches(&self, record: &BuildHistoryRecord) -> bool {
        match self {
            Self::Is(field, value) => field.of(record).is_some_and(|found| found == value),
            Self::IsNot(field, value) => field.of(record).is_none_or(|found| found != value),
            Self::Like(field, expression) => field.of(record).is_some_and(|found| expression.is_match(found)),
            Self::Time(moment, order, value) => order.holds(moment.of(record), *value),
        }
    }
}

impl Field {
    fn of(self, record: &BuildHistoryRecord) -> Option<&str> {
        match self {
            Self::Ref => Some(record.r#ref.as_str()),
            Self::Status => Some(status(record)),
            Self::Repository => repository(record),
        }
    }
}

fn status(record: &BuildHistoryRecord) -> &'static str {
    match (&record.completed_at, &record.error) {
        (None, _) => "running",
        (Some(_), None) => "completed",
        (Some(_), Some(error)) if error.message.contains("context canceled") => "canceled",
        (Some(_), Some(_)) => "error",
    }
}

/// Returns the repository that a build was made of: what the client says, or a context that is an address of git.
fn repository(record: &BuildHistoryRecord) -> Option<&str> {
    if let Some(source) = record.frontend_attrs.get("vcs:source") {
        return Some(source);
    }
    let context = record.frontend_attrs.get("context")?;
    let address = context.split('#').next().unwrap_or_default();
    let remote = ["https://", "http://", "ssh://", "git://", "git@"].iter().any(|scheme| address.starts_with(scheme));
    Some(address).filter(|_| remote)
}

impl Moment {
    /// Nanoseconds; 0 for what has not happened yet.
    fn of(self, record: &BuildHistoryRecord) -> i128 {
        let completed = nanoseconds(record.completed_at.as_ref());
        match self {
            Self::Started => nanoseconds(record.created_at.as_ref()),
            Self::Completed => completed,
            Self::Duration if record.completed_at.is_none() => 0,
            Self::Duration => completed - nanoseconds(record.created_at.as_ref()),
        }
    }
}

impl Order {
    fn holds(self, found: i128, value: i128) -> bool {
        match self {
            Self::Below => found < value,
            Self::AtMost => found <= value,
            Self::Above => found > value,
            Self::AtLeast => found >= value,
        }
    }
}

fn nanoseconds(time: Option<&Timestamp>) -> i128 {
    time.map_or(0, |time| i128::from(time.seconds) * 1_000_000_000 + i128::from(time.nanos))
}

fn condition(part: &str, now: SystemTime) -> Result<Condition, String> {
    let end = part.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(part.len());
    let (name, rest) = part.split_at(end);
    let operators = ["==", "!=", "~=", "<=", ">=", "<", ">"];
    let operator = operators.into_iter().find(|operator| rest.starts_with(operator));
    let operator = operator.ok_or_else(|| format!("expected a name and one of {}", operators.join(" ")))?;
    let value = unquoted(&rest[operator.len()..]);
    if let Some(moment) = moment(name) {
        let order = match operator {
            "<" => Order::Below,
            "<=" => Order::AtMost,
            ">" => Order::Above,
            ">=" => Order::AtLeast,
            _ => return Err(format!("`{name}` is compared by < <= > and >=")),
        };
        return Ok(Condition::Time(moment, order, instant(moment, value, now)?));
    }
    let field = match name {
        "ref" => Field::Ref,
        "status" => Field::Status,
        "repository" => Field::Repository,
        other => return Err(format!("no field `{other}`")),
    };
    match operator {
        "==" => Ok(Condition::Is(field, value.to_owned())),
        "!=" => Ok(Condition::IsNot(field, value.to_owned())),
        "~=" => {
            let expression = RegexBuilder::new(value).size_limit(EXPRESSION).build();
            expression.map(|expression| Condition::Like(field, expression)).map_err(|error| error.to_string())
        }
        _ => Err(format!("`{name}` is compared by == != and ~=")),
    }
}

fn moment(name: &str) -> Option<Moment> {
    Some(match name {
        "startedAt" => Moment::Started,
        "completedAt" => Moment::Completed,
        "duration" => Moment::Duration,
        _ => return None,
    })
}

fn instant(moment: Moment, value: &str, now: SystemTime) -> Result<i128, String> {
    let span = duration(value).map(|span: Duration| i128::try_from(span.as_nanos()).unwrap_or(i128::MAX));
    match (moment, span) {
        (Moment::Duration, span) => span,
        (_, Ok(ago)) => {
            let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos();
            Ok(i128::try_from(now).unwrap_or(i128::MAX) - ago)
        }
        (_, Err(_)) => {
            let time = OffsetDateTime::parse(value, &Rfc3339).map_err(|_| format!("invalid time `{value}`"))?;
            Ok(time.unix_timestamp_nanos())
        }
    }
}

fn unquoted(value: &str) -> &str {
    let inner = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
    inner.unwrap_or(value)
}

/// Splits a line of CSV.
fn fields(line: &str) -> Result<Vec<String>, String> {
    let (mut fields, mut field, mut quoted) = (Vec::new(), String::new(), false);
    let mut letters = line.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '"' if quoted && letters.peek() == Some(&'"') => field.extend(letters.next()),
            '"' if quoted => quoted = false,
            '"' if field.is_empty() => quoted = true,
            ',' if !quoted => fields.push(std::mem::take(&mut field)),
            letter => field.push(letter),
        }
    }
    if quoted {
        return Err("a quote is not closed".to_owned());
    }
    fields.push(field);
    fields.retain(|field| !field.is_empty());
    Ok(fields)
}

#[cfg(test)]
#[path = "filter_tests.rs"]
mod tests;
