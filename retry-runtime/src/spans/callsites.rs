//! Callsites of workers. A subscriber takes a callsite to be a static, so each one is made once and leaked.

use std::collections::HashMap;
use std::error::Error;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use tracing::callsite::{self, Callsite, Identifier};
use tracing::field::{self, DebugValue, Field, FieldSet, ValueSet};
use tracing::level_filters::LevelFilter;
use tracing::metadata::Kind;
use tracing::subscriber::Interest;
use tracing::{Dispatch, Metadata};

use super::messages::{self, FIELDS, Value, Values, level};

/// The maximum number of callsites of all workers. A program has a few thousand at most; records of further
/// ones, which only a corrupt worker sends, are dropped.
const MAX_CALLSITES: usize = 16 * 1024;

/// The maximum length in bytes of all names of a callsite together.
const MAX_NAMES_BYTES: usize = 16 * 1024;

const NEVER: u8 = 0;
const SOMETIMES: u8 = 1;
const ALWAYS: u8 = 2;

/// The callsites by what workers say of them. Workers of one program mostly share them.
static KNOWN: Mutex<Option<HashMap<messages::Callsite, &'static Remote>>> = Mutex::new(None);

/// A callsite in the code of a worker.
pub(super) struct Remote {
    metadata: OnceLock<&'static Metadata<'static>>,
    fields: OnceLock<Vec<Field>>,
    interest: AtomicU8,
    is_registered: AtomicBool,
}

/// Returns the callsite with these properties; `None` for impossible ones.
pub(super) fn find(callsite: messages::Callsite) -> Option<&'static Remote> {
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let known = known.get_or_insert_default();
    if let Some(found) = known.get(&callsite) {
        return Some(found);
    }
    let optional = [&callsite.module, &callsite.file];
    let texts = [&callsite.name, &callsite.target].into_iter();
    let texts = texts.chain(optional.into_iter().flatten());
    let length: usize = texts.chain(&callsite.fields).map(String::len).sum();
    if known.len() >= MAX_CALLSITES || length > MAX_NAMES_BYTES || callsite.fields.len() > FIELDS {
        return None;
    }
    let level = level(callsite.level)?;
    let remote: &'static Remote = Box::leak(Box::new(Remote {
        metadata: OnceLock::new(),
        fields: OnceLock::new(),
        interest: AtomicU8::new(SOMETIMES),
        is_registered: AtomicBool::new(false),
    }));
    let names: Vec<&'static str> = callsite.fields.iter().map(|name| leak(name)).collect();
    let metadata = Box::leak(Box::new(Metadata::new(
        leak(&callsite.name),
        leak(&callsite.target),
        level,
        callsite.file.as_deref().map(leak),
        callsite.line,
        callsite.module.as_deref().map(leak),
        FieldSet::new(names.leak(), Identifier(remote)),
        if callsite.is_span {
            Kind::SPAN
        } else {
            Kind::EVENT
        },
    )));
    remote
        .fields
        .get_or_init(|| metadata.fields().iter().collect());
    remote.metadata.get_or_init(|| metadata);
    known.insert(callsite, remote);
    Some(remote)
}

fn leak(text: &str) -> &'static str {
    String::from(text).leak()
}

impl Callsite for Remote {
    fn set_interest(&self, interest: Interest) {
        let interest = if interest.is_always() {
            ALWAYS
        } else if interest.is_never() {
            NEVER
        } else {
            SOMETIMES
        };
        self.interest.store(interest, Ordering::Relaxed);
    }

    fn metadata(&self) -> &Metadata<'_> {
        self.metadata()
    }
}

impl Remote {
    pub(super) fn metadata(&self) -> &'static Metadata<'static> {
        self.metadata.get().expect("`find` has set it")
    }

    /// Returns whether a subscriber, which has to be that of this thread, wants what this callsite records.
    /// Asks all subscribers at the first call, as a macro does when it is first reached.
    pub(super) fn is_enabled(&'static self, dispatch: &Dispatch) -> bool {
        if !self.is_registered.swap(true, Ordering::Relaxed) {
            callsite::register(self);
        }
        let metadata = self.metadata();
        *metadata.level() <= LevelFilter::current()
            && match self.interest.load(Ordering::Relaxed) {
                NEVER => false,
                ALWAYS => true,
                _ => dispatch.enabled(metadata),
            }
    }

    /// Calls a closure with the values in the form in which subscribers take them.
    pub(super) fn with_values<R>(
        &self,
        values: &Values,
        then: impl FnOnce(&ValueSet<'_>) -> R,
    ) -> R {
        let set = self.metadata().fields();
        let fields = self.fields.get().map_or(&[][..], Vec::as_slice);
        let Some(first) = fields.first() else {
            return then(&set.value_set(&[]));
        };
        let chains: Vec<Option<Chain>> = values.iter().map(|(_, value)| Chain::of(value)).collect();
        let shown: Vec<Shown<'_>> = values
            .iter()
            .zip(&chains)
            .map(|((_, value), chain)| Shown::new(value, chain.as_ref()))
            .collect();
        // Fields without a value are skipped.
        let mut all: [(&Field, Option<&dyn field::Value>); FIELDS] = [(first, None); FIELDS];
        let mut places = all.iter_mut();
        for ((field, _), shown) in values.iter().zip(&shown) {
            if let Some(field) = fields.get(usize::from(*field))
                && let Some(place) = places.next()
            {
                *place = (field, Some(shown.as_value()));
            }
        }
        then(&set.value_set(&all))
    }
}

/// A value as a subscriber takes it.
enum Shown<'a> {
    Plain(&'a dyn field::Value),
    Text(DebugValue<Raw<'a>>),
    Error(&'a (dyn Error + 'static)),
}

impl<'a> Shown<'a> {
    fn new(value: &'a Value, chain: Option<&'a Chain>) -> Self {
        match value {
            Value::Bool(value) => Self::Plain(value),
            Value::I64(value) => Self::Plain(value),
            Value::U64(value) => Self::Plain(value),
            Value::I128(value) => Self::Plain(value),
            Value::U128(value) => Self::Plain(value),
            Value::F64(value) => Self::Plain(value),
            Value::Str(value) => Self::Plain(value),
            Value::Shown(text) => Self::Text(field::debug(Raw(text))),
            Value::Error(_) => match chain {
                Some(chain) => Self::Error(chain),
                None => Self::Plain(&""),
            },
        }
    }

    fn as_value(&self) -> &dyn field::Value {
        match self {
            Self::Plain(value) => *value,
            Self::Text(text) => text,
            Self::Error(error) => error,
        }
    }
}

/// A text that was made by `Debug` or `Display`, and is shown as it is.
struct Raw<'a>(&'a str);

impl fmt::Debug for Raw<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// An error of a worker, with its causes.
#[derive(Debug)]
struct Chain {
    text: String,
    source: Option<Box<Chain>>,
}

impl Chain {
    fn of(value: &Value) -> Option<Self> {
        let Value::Error(texts) = value else {
            return None;
        };
        texts.iter().rev().fold(None, |source: Option<Self>, text| {
            Some(Self {
                text: text.clone(),
                source: source.map(Box::new),
            })
        })
    }
}

impl fmt::Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Error for Chain {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn callsite(name: &str, fields: usize) -> messages::Callsite {
        messages::Callsite {
            is_span: true,
            level: 2,
            name: name.to_owned(),
            target: "target".to_owned(),
            module: Some("module".to_owned()),
            file: Some("file.rs".to_owned()),
            line: Some(7),
            fields: (0..fields).map(|number| format!("f{number}")).collect(),
        }
    }

    #[test]
    fn equal_callsites_are_one() {
        let one = find(callsite("one", 2)).unwrap();
        assert!(std::ptr::eq(one, find(callsite("one", 2)).unwrap()));
        let metadata = one.metadata();
        assert_eq!(
            (metadata.name(), metadata.target(), metadata.line()),
            ("one", "target", Some(7))
        );
        assert_eq!(*metadata.level(), tracing::Level::WARN);
        assert!(metadata.is_span() && metadata.fields().field("f1").is_some());
        assert!(!std::ptr::eq(one, find(callsite("one", 3)).unwrap()));
    }

    #[test]
    fn impossible_callsites_are_refused() {
        assert!(find(callsite("many", FIELDS + 1)).is_none());
        assert!(find(callsite(&"long".repeat(MAX_NAMES_BYTES), 0)).is_none());
        let level = messages::Callsite {
            level: 6,
            ..callsite("level", 0)
        };
        assert!(find(level).is_none());
    }
}
