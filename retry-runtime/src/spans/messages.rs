//! The records of a worker on their way to its parent.

use std::error::Error;
use std::fmt;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use tracing::field::{Field, Visit};
use tracing::{Level, Metadata};

/// The maximum length of a text in bytes; longer ones are cut.
const MAX_TEXT_BYTES: usize = 64 * 1024;

/// The maximum length of all texts of a record together, which keeps a batch below the limit on requests.
const LONGEST_RECORD: usize = 1024 * 1024;

/// The maximum number of errors in a chain of causes.
const CAUSES: usize = 16;

/// The maximum number of fields of a span or an event, which is that of `tracing` itself.
pub(super) const FIELDS: usize = 32;

/// Records of a worker, in their order.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Batch {
    pub(super) records: Vec<Record>,
}

impl Batch {
    /// Returns the tickets of calls that have made the records, except those under spans of known tickets.
    pub(crate) fn tickets(&self) -> Vec<u64> {
        let ticket = |record: &Record| match record.message {
            Message::Open { ticket, .. } | Message::Event { ticket, .. } => ticket,
            Message::Callsite(_) | Message::Set { .. } | Message::Close { .. } => 0,
        };
        let mut tickets: Vec<u64> = self.records.iter().map(ticket).collect();
        tickets.sort_unstable();
        tickets.dedup();
        tickets.retain(|ticket| *ticket != 0);
        tickets
    }

    /// Adds a message with the present time.
    pub(super) fn push(&mut self, message: Message) {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let nanos = since.unwrap_or_default().as_nanos();
        self.records.push(Record {
            at: u64::try_from(nanos).unwrap_or(u64::MAX),
            message,
        });
    }

    /// Returns the approximate size in memory, in bytes.
    pub(super) fn size(&self) -> usize {
        let size = |record: &Record| size_of::<Record>() + record.message.size();
        self.records.iter().map(size).sum()
    }

    /// Removes everything except the definitions of callsites, to which later records refer. Returns how many
    /// records it has removed.
    pub(super) fn cut(&mut self) -> usize {
        let before = self.records.len();
        self.records
            .retain(|record| matches!(record.message, Message::Callsite(_)));
        before - self.records.len()
    }
}

/// One record.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Record {
    /// The time on the system's clock, in nanoseconds since 1970.
    at: u64,
    pub(super) message: Message,
}

impl Record {
    pub(super) fn time(&self) -> Option<SystemTime> {
        SystemTime::UNIX_EPOCH.checked_add(Duration::from_nanos(self.at))
    }
}

/// A record of a worker. Numbers are unique within the worker; zero stands for none.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Message {
    /// Precedes the first record of each callsite. Callsites are numbered in this order, from 1.
    Callsite(Callsite),
    Open {
        span: u64,
        parent: u64,
        /// The ticket of the attempt.
        ticket: u64,
        callsite: u32,
        values: Values,
    },
    /// Further fields of a span.
    Set {
        span: u64,
        values: Values,
    },
    Close {
        span: u64,
    },
    Event {
        /// The span that the event is in.
        parent: u64,
        /// The ticket of the attempt.
        ticket: u64,
        callsite: u32,
        values: Values,
    },
}

impl Message {
    /// Returns the approximate number of bytes on the heap.
    pub(super) fn size(&self) -> usize {
        match self {
            Self::Open { values, .. } | Self::Set { values, .. } | Self::Event { values, .. } => {
                values.iter().map(|(_, value)| 40 + value.size()).sum()
            }
            Self::Callsite(_) => 256,
            Self::Close { .. } => 0,
        }
    }
}

/// The static part of spans or events.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Callsite {
    pub(super) is_span: bool,
    /// From 1 for errors to 5 for traces.
    pub(super) level: u8,
    pub(super) name: String,
    pub(super) target: String,
    pub(super) module: Option<String>,
    pub(super) file: Option<String>,
    pub(super) line: Option<u32>,
    pub(super) fields: Vec<String>,
}

impl Callsite {
    pub(super) fn of(metadata: &Metadata<'_>) -> Self {
        let fields = metadata.fields().iter().take(FIELDS);
        Self {
            is_span: metadata.is_span(),
            level: level_number(*metadata.level()),
            name: metadata.name().to_owned(),
            target: metadata.target().to_owned(),
            module: metadata.module_path().map(str::to_owned),
            file: metadata.file().map(str::to_owned),
            line: metadata.line(),
            fields: fields.map(|field| field.name().to_owned()).collect(),
        }
    }
}

/// Returns the number of a level, which is greater the more verbose the level is.
pub(super) fn level_number(level: Level) -> u8 {
    match level {
        Level::ERROR => 1,
        Level::WARN => 2,
        Level::INFO => 3,
        Level::DEBUG => 4,
        Level::TRACE => 5,
    }
}

/// Returns the level of a number that may come from a worker.
pub(super) fn level(number: u8) -> Option<Level> {
    Some(match number {
        1 => Level::ERROR,
        2 => Level::WARN,
        3 => Level::INFO,
        4 => Level::DEBUG,
        5 => Level::TRACE,
        _ => return None,
    })
}

/// Values by the places of their fields.
pub(super) type Values = Vec<(u8, Value)>;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Value {
    Bool(bool),
    I64(i64),
    U64(u64),
    I128(i128),
    U128(u128),
    F64(f64),
    Str(String),
    /// The text of a value that was recorded by its `Display` or `Debug`.
    Shown(String),
    /// The texts of an error and its causes.
    Error(Vec<String>),
}

impl Value {
    fn size(&self) -> usize {
        match self {
            Self::Str(text) | Self::Shown(text) => text.len(),
            Self::Error(texts) => texts.iter().map(String::len).sum(),
            _ => 0,
        }
    }
}

/// Collects the values of a record.
pub(super) struct Collector {
    values: Values,
    /// The bytes that further texts may have.
    left: usize,
}

impl Collector {
    /// Returns the values that a closure shows the collector.
    pub(super) fn collect(show: impl FnOnce(&mut Self)) -> Values {
        let mut collector = Self {
            values: Values::new(),
            left: LONGEST_RECORD,
        };
        show(&mut collector);
        collector.values
    }

    fn cut(&mut self, text: String) -> String {
        let text = cut(text, MAX_TEXT_BYTES.min(self.left));
        self.left = self.left.saturating_sub(text.len());
        text
    }

    fn push(&mut self, field: &Field, value: Value) {
        if field.index() < FIELDS
            && let Ok(place) = u8::try_from(field.index())
        {
            self.values.push((place, value));
        }
    }
}

impl Visit for Collector {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.push(field, Value::F64(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.push(field, Value::I64(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.push(field, Value::U64(value));
    }

    fn record_i128(&mut self, field: &Field, value: i128) {
        self.push(field, Value::I128(value));
    }

    fn record_u128(&mut self, field: &Field, value: u128) {
        self.push(field, Value::U128(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.push(field, Value::Bool(value));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        let text = self.cut(value.to_owned());
        self.push(field, Value::Str(text));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        let causes = std::iter::successors(Some(value), |&error| error.source());
        let texts = causes.take(CAUSES);
        let texts = texts.map(|error| self.cut(error.to_string())).collect();
        self.push(field, Value::Error(texts));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let text = self.cut(format!("{value:?}"));
        self.push(field, Value::Shown(text));
    }
}

fn cut(mut text: String, longest: usize) -> String {
    if text.len() > longest {
        text.truncate(text.floor_char_boundary(longest));
        text.push_str("...");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec;

    #[test]
    fn records_round_trip() {
        let values = vec![
            (0, Value::Bool(true)),
            (1, Value::I64(i64::MIN)),
            (2, Value::U64(u64::MAX)),
            (3, Value::I128(i128::MIN)),
            (4, Value::U128(u128::MAX)),
            (5, Value::F64(-0.5)),
            (6, Value::Str("text".to_owned())),
            (7, Value::Shown("Some(1)".to_owned())),
            (
                8,
                Value::Error(vec!["outer".to_owned(), "inner".to_owned()]),
            ),
        ];
        let mut batch = Batch::default();
        batch.push(Message::Open {
            span: 2,
            parent: 1,
            ticket: 7,
            callsite: 1,
            values: values.clone(),
        });
        batch.push(Message::Event {
            parent: 2,
            ticket: 0,
            callsite: 2,
            values: Values::new(),
        });
        let mut bytes = Vec::new();
        codec::encode(&batch, &mut bytes, usize::MAX).unwrap();
        let read: Batch = codec::decode_all(&bytes).unwrap();
        assert_eq!(format!("{read:?}"), format!("{batch:?}"));
        assert_eq!((read.tickets(), read.size()), (vec![7], batch.size()));
        let passed = SystemTime::now().duration_since(read.records[0].time().unwrap());
        assert!(passed.unwrap() < Duration::from_secs(3600));
    }

    #[test]
    fn callsites_survive_the_loss_of_records() {
        let callsite = Callsite {
            is_span: false,
            level: 3,
            name: "event".to_owned(),
            target: "t".to_owned(),
            module: None,
            file: None,
            line: None,
            fields: vec!["message".to_owned()],
        };
        let mut batch = Batch::default();
        batch.push(Message::Close { span: 1 });
        batch.push(Message::Callsite(callsite));
        batch.push(Message::Close { span: 2 });
        assert_eq!(batch.cut(), 2);
        assert!(matches!(batch.records[0].message, Message::Callsite(_)));
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        let text = cut("é".repeat(MAX_TEXT_BYTES), MAX_TEXT_BYTES - 1);
        assert_eq!(text.len(), MAX_TEXT_BYTES - 2 + "...".len());
        assert_eq!(cut("short".to_owned(), MAX_TEXT_BYTES), "short");
        let mut collector = Collector {
            values: Values::new(),
            left: MAX_TEXT_BYTES + 1,
        };
        let lengths = [(); 3].map(|()| collector.cut("a".repeat(2 * MAX_TEXT_BYTES)).len());
        assert_eq!(lengths, [MAX_TEXT_BYTES + 3, 3, 3]);
    }
}
