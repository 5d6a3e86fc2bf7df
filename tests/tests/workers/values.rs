//! Values that travel, as documented in docs/guide/values.md: each value arrives as it was sent, or is
//! refused with an error that names it. None of this depends on the build profile.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::fmt::Debug;
use std::marker::PhantomData;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::num::{NonZeroU8, Wrapping};
use std::ops::{Bound, Range};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, SystemTime};

use retry_runtime::{CallError, Json, Lost, Rejected, function, service};
use retry_tests::fixture;
use serde::de::Deserializer;
use serde::ser::{SerializeSeq, Serializer};
use serde::{Deserialize, Serialize};

const LIMIT: Duration = Duration::from_secs(120);

fn serves() -> bool {
    echo_u8.remote(7).wait().is_ok_and(|value| value == 7)
}

/// Words that no message may contain: the encoding is an implementation detail.
const INTERNALS: [&str; 5] = [
    "incode",
    "deserialize_",
    "UnexpectedEnd",
    "NotSupported",
    "visit_",
];

fn assert_says(message: &str, expected: &[&str]) {
    for part in expected {
        assert!(message.contains(part), "no {part:?} in: {message}");
    }
    for internal in INTERNALS {
        assert!(!message.contains(internal), "{internal:?} in: {message}");
    }
}

fn assert_refused<T: Debug, E: Debug>(result: Result<T, CallError<E>>, expected: &[&str]) {
    let error = result.expect_err("it does not travel");
    assert!(error.did_not_run(), "{error:?}");
    match &error {
        CallError::Rejected(
            rejected @ (Rejected::NotEncodable { parameter, .. }
            | Rejected::NotDecodable { parameter, .. }),
            _,
        ) => {
            assert_eq!(&**parameter, "value");
            assert_says(&rejected.to_string(), &["argument `value`"]);
            assert_says(&rejected.to_string(), expected);
        }
        _ => panic!("{error:?}"),
    }
}

fn assert_lost<T: Debug, E: Debug>(result: Result<T, CallError<E>>, expected: &[&str]) {
    match result {
        Err(CallError::Lost(Lost::NotEncodable { reason } | Lost::NotDecodable { reason }, _)) => {
            assert_says(&reason, expected)
        }
        other => panic!("{other:?}"),
    }
}

/// Defines an echo function for each type.
macro_rules! echoes {
    ($($name:ident: $type:ty;)*) => {
        $(
            #[function(max_workers = 1)]
            fn $name(value: $type) -> $type {
                value
            }
        )*
    };
}

/// Checks that a value arrives and returns unchanged, both alone and among other values.
macro_rules! travels {
    ($($echo:ident: $($value:expr),+;)*) => {
        $(
            $(
                let value = $value;
                let back = $echo.remote(Clone::clone(&value)).wait().expect(stringify!($echo));
                assert_eq!(back, value, "{}", stringify!($echo));
            )+
            let values = [$($value),+];
            let backs: Vec<_> = $echo.map(Clone::clone(&values)).into_iter().collect();
            assert_eq!(backs.len(), values.len());
            for (back, value) in backs.into_iter().zip(values) {
                assert_eq!(back.expect(stringify!($echo)), value);
            }
        )*
    };
}

/// Checks that the first value, if any, travels, and that the second one is refused after it and together
/// with it.
macro_rules! refused {
    ($echo:ident: $good:expr, $bad:expr => $($expected:expr),+) => {{
        let good = $echo.remote($good).wait().expect("the first travels");
        assert_eq!(good, $good);
        assert_refused($echo.remote($bad).wait(), &[$($expected),+]);
        let mut results = $echo.map([$good, $bad, $good]).into_iter();
        assert!(results.next().expect("three").is_ok());
        assert_refused(results.next().expect("three"), &[$($expected),+]);
        assert!(results.next().expect("three").is_ok());
    }};
    ($echo:ident: $bad:expr => $($expected:expr),+) => {{
        assert_refused($echo.remote($bad).wait(), &[$($expected),+]);
        for result in $echo.map([$bad, $bad]) {
            assert_refused(result, &[$($expected),+]);
        }
    }};
}

// Values that travel.

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Plain {
    wide: u128,
    narrow: i128,
    letter: char,
    text: String,
    nothing: (),
    maybe: Option<Option<()>>,
    list: Vec<Option<f32>>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
enum Shape {
    Unit,
    New(String),
    Pair(u8, i64),
    Named { left: u8, right: Option<Box<Shape>> },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Renamed {
    #[serde(alias = "an_alias", alias = "zzz")]
    first_field: u8,
    #[serde(default, rename = "else")]
    second_field: u16,
    #[serde(with = "as_text")]
    third_field: u32,
    last: Kind,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    #[serde(alias = "a", alias = "zz")]
    First,
    #[serde(alias = "b")]
    Second(u8),
    Third {
        #[serde(alias = "c")]
        x: u8,
    },
    #[serde(other)]
    Other,
}

mod as_text {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(crate) fn serialize<S: Serializer>(number: &u32, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(number)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<u32, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
struct Even(u8);

impl TryFrom<u8> for Even {
    type Error = String;

    fn try_from(number: u8) -> Result<Self, String> {
        if number.is_multiple_of(2) {
            Ok(Self(number))
        } else {
            Err(format!("{number} is odd"))
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "u8", into = "u8", bound = "T: Clone")]
struct Next<T>(u8, PhantomData<T>);

impl<T> From<u8> for Next<T> {
    fn from(number: u8) -> Self {
        Self(number + 1, PhantomData)
    }
}

impl<T> From<Next<T>> for u8 {
    fn from(next: Next<T>) -> Self {
        next.0 - 1
    }
}

impl From<Even> for u8 {
    fn from(even: Even) -> Self {
        even.0
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
struct Transparent {
    inner: Vec<u16>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Newtype<T>(T);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Empty;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Foreign")]
struct ForeignDef {
    number: u8,
}

#[derive(Clone, Debug, PartialEq)]
struct Foreign {
    number: u8,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct WithForeign(#[serde(with = "ForeignDef")] Foreign, u8);

/// A field that is skipped on both sides does not travel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Cached {
    key: u8,
    #[serde(skip)]
    cache: Option<String>,
    value: u8,
}

/// Like `uuid::Uuid`: bytes, unless the format is human-readable.
#[derive(Clone, Debug, PartialEq)]
struct Id([u8; 4]);

impl Serialize for Id {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        if to.is_human_readable() {
            to.collect_str(&u32::from_be_bytes(self.0))
        } else {
            to.serialize_bytes(&self.0)
        }
    }
}

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        use serde::de::Error;

        struct Bytes;

        impl serde::de::Visitor<'_> for Bytes {
            type Value = Id;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("four bytes")
            }

            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Id, E> {
                bytes.try_into().map(Id).map_err(E::custom)
            }
        }

        if from.is_human_readable() {
            let number: u32 = String::deserialize(from)?
                .parse()
                .map_err(D::Error::custom)?;
            Ok(Self(number.to_be_bytes()))
        } else {
            from.deserialize_bytes(Bytes)
        }
    }
}

type Shared = (Arc<str>, Rc<[u8]>, Box<[u16]>, Cow<'static, str>);

type Std = (
    Duration,
    SystemTime,
    Range<u8>,
    Bound<u8>,
    Wrapping<u8>,
    NonZeroU8,
    PhantomData<u8>,
);

echoes! {
    echo_u8: u8;
    echo_f32: f32;
    echo_f64: f64;
    echo_char: char;
    echo_unit: ();
    echo_i128: i128;
    echo_plain: Plain;
    echo_shape: Shape;
    echo_renamed: Renamed;
    echo_even: Even;
    echo_next: Next<u8>;
    echo_transparent: Transparent;
    echo_newtype: Newtype<Newtype<String>>;
    echo_empty: Empty;
    echo_foreign: WithForeign;
    echo_id: Id;
    echo_options: Vec<Option<Option<u8>>>;
    echo_units: Vec<()>;
    echo_array: [(u8, bool); 3];
    echo_no_array: [u64; 0];
    echo_map: HashMap<(u8, Shape), BTreeMap<char, u8>>;
    echo_set: HashSet<Shape>;
    echo_ordered: BTreeSet<Vec<u8>>;
    echo_deque: VecDeque<bool>;
    echo_result: Vec<Result<u8, String>>;
    echo_shared: Shared;
    echo_cells: (Cell<u8>, RefCell<String>);
    echo_std: Std;
    echo_address: (IpAddr, SocketAddr);
    echo_path: (PathBuf, std::ffi::OsString);
}

#[retry_runtime::test]
fn standard_types_travel() {
    fixture(LIMIT, serves, || {
        travels! {
            echo_char: 'x', 'ß', '\u{10ffff}';
            echo_unit: ();
            echo_i128: i128::MIN, 1;
            echo_options: vec![None, Some(None), Some(Some(3))], vec![];
            echo_units: vec![(); 1000], vec![];
            echo_array: [(1, true), (2, false), (3, true)];
            echo_no_array: [];
            echo_map: HashMap::new(), HashMap::from([((1, Shape::Unit), [('x', 1)].into())]);
            echo_set: HashSet::new(), [Shape::Unit, Shape::New("x".into())].into();
            echo_ordered: [vec![], vec![1, 2]].into(), BTreeSet::new();
            echo_deque: VecDeque::new(), [true, false].into();
            echo_result: vec![Ok(1), Err("no".into())], vec![];
            echo_shared: ("text".into(), [1, 2].into(), [3].into(), Cow::Borrowed("cow"));
            echo_cells: (Cell::new(1), RefCell::new("cell".into()));
            echo_std:
                (
                    Duration::new(3, 7), SystemTime::UNIX_EPOCH, 1..9, Bound::Unbounded,
                    Wrapping(1), NonZeroU8::MIN, PhantomData,
                ),
                (
                    Duration::MAX, SystemTime::UNIX_EPOCH + Duration::from_nanos(1), 0..0,
                    Bound::Excluded(3), Wrapping(255), NonZeroU8::MAX, PhantomData,
                );
            echo_address:
                ([127, 0, 0, 1].into(), ([10, 0, 0, 1], 80).into()),
                (Ipv6Addr::LOCALHOST.into(), (Ipv6Addr::LOCALHOST, 443).into());
            echo_path: ("/tmp/grüße".into(), "file".into());
        }
        let mutex = takes_mutex.remote(Mutex::new(vec![1, 2])).wait();
        assert_eq!(mutex.unwrap(), 3);
    });
}

#[function(max_workers = 1)]
fn takes_mutex(value: Mutex<Vec<u32>>) -> u32 {
    value.lock().unwrap().iter().sum()
}

#[retry_runtime::test]
fn floats_keep_their_bits() {
    fixture(LIMIT, serves, || {
        for bits in [0x7ff8_0000_0000_0001, 0xfff0_0000_0000_0000, 1 << 63, 1] {
            let back = echo_f64.remote(f64::from_bits(bits)).wait().unwrap();
            assert_eq!(back.to_bits(), bits);
        }
        let back = echo_f32.remote(f32::from_bits(0x7fc0_1234)).wait().unwrap();
        assert_eq!(back.to_bits(), 0x7fc0_1234);
    });
}

#[retry_runtime::test]
fn types_whose_halves_agree_travel() {
    fixture(LIMIT, serves, || {
        let plain = Plain {
            wide: u128::MAX,
            narrow: i128::MIN,
            letter: 'ß',
            text: String::new(),
            nothing: (),
            maybe: Some(None),
            list: vec![None, Some(1.5)],
        };
        let renamed = |last| Renamed {
            first_field: 1,
            second_field: 2,
            third_field: 3,
            last,
        };
        let named = Shape::Named {
            left: 1,
            right: Some(Box::new(Shape::Pair(2, 3))),
        };
        travels! {
            echo_plain: plain.clone(), Plain { maybe: None, ..plain.clone() };
            echo_shape: Shape::Unit, Shape::New("x".into()), Shape::Pair(1, 2), named.clone();
            echo_renamed:
                renamed(Kind::First), renamed(Kind::Second(4)), renamed(Kind::Third { x: 5 }),
                renamed(Kind::Other);
            echo_even: Even(4);
            echo_next: Next(1, PhantomData), Next(255, PhantomData);
            echo_transparent: Transparent { inner: vec![1, 2] };
            echo_newtype: Newtype(Newtype("text".into()));
            echo_empty: Empty;
            echo_foreign: WithForeign(Foreign { number: 1 }, 2);
            echo_id: Id([1, 2, 3, 4]);
        }
        assert_refused(echo_even.remote(Even(3)).wait(), &["3 is odd"]);
    });
}

#[function(max_workers = 1)]
fn takes_cached(value: Cached) -> (u8, bool, u8) {
    (value.key, value.cache.is_none(), value.value)
}

#[retry_runtime::test]
fn a_field_that_both_halves_skip_arrives_as_its_default() {
    fixture(LIMIT, serves, || {
        let cached = Cached {
            key: 1,
            cache: Some("cache".into()),
            value: 2,
        };
        assert_eq!(takes_cached.remote(cached).wait().unwrap(), (1, true, 2));
    });
}

// Values that are refused.

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Job {
    #[serde(skip_serializing_if = "Option::is_none")]
    tag: Option<String>,
    width: u8,
    pixels: Vec<u8>,
}

impl Job {
    fn tagged() -> Self {
        Self {
            tag: Some("tag".into()),
            width: 1,
            pixels: vec![1],
        }
    }

    fn untagged() -> Self {
        Self {
            tag: None,
            width: 0,
            pixels: vec![0],
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum SparseVariant {
    Named {
        #[serde(skip_serializing_if = "Vec::is_empty", default)]
        list: Vec<u8>,
        last: u8,
    },
    Pair(
        #[serde(skip_serializing_if = "is_zero", default)] u8,
        #[serde(skip_serializing_if = "is_zero", default)] u8,
    ),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct SparsePair(
    u8,
    #[serde(skip_serializing_if = "is_zero", default)] u8,
    #[serde(skip_serializing_if = "Vec::is_empty", default)] Vec<u8>,
);

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
fn is_zero(number: &u8) -> bool {
    *number == 0
}

#[function(max_workers = 1)]
fn count_jobs(value: &[Job]) -> usize {
    value.len()
}

#[function(max_workers = 1)]
fn count_pixels(first: &str, value: &Job) -> usize {
    first.len() + value.pixels.len()
}

#[function(max_workers = 1)]
fn gives_job(tagged: bool) -> Job {
    if tagged {
        Job::tagged()
    } else {
        Job::untagged()
    }
}

#[function(max_workers = 1)]
fn fails_with_job(tagged: bool) -> Result<(), Job> {
    Err(if tagged {
        Job::tagged()
    } else {
        Job::untagged()
    })
}

#[function(max_workers = 1, batch(max_size = 4))]
fn batch_of_jobs(value: Vec<Job>) -> Vec<u8> {
    value.iter().map(|job| job.width).collect()
}

echoes! {
    echo_job: Job;
    echo_jobs: HashMap<String, Vec<Option<Job>>>;
    echo_sparse: SparseVariant;
    echo_pair: SparsePair;
}

#[retry_runtime::test]
fn a_skipped_field_is_refused_by_name() {
    fixture(LIMIT, serves, || {
        let says = ["`tag`", "values::Job`", "retry_runtime::Json"];
        refused!(echo_job: Job::tagged(), Job::untagged() => "`tag`", "values::Job`", "Json");
        let jobs = |job| HashMap::from([("job".to_owned(), vec![None, Some(job)])]);
        refused!(echo_jobs: jobs(Job::tagged()), jobs(Job::untagged()) => "`tag`", "values::Job`");
        let named = |list| SparseVariant::Named { list, last: 1 };
        refused!(echo_sparse: named(vec![1]), named(vec![]) => "`list`", "values::SparseVariant`");

        assert_eq!(count_jobs.remote(&[Job::tagged()]).wait().unwrap(), 1);
        let jobs = [Job::tagged(), Job::untagged()];
        assert_refused(count_jobs.remote(&jobs).wait(), &says);
        assert_eq!(count_pixels.remote("a", &Job::tagged()).wait().unwrap(), 2);
        assert_refused(count_pixels.remote("a", &Job::untagged()).wait(), &says);
        assert_eq!(batch_of_jobs.remote(Job::tagged()).wait().unwrap(), 1);
        assert_refused(batch_of_jobs.remote(Job::untagged()).wait(), &says);
    });
}

#[retry_runtime::test]
fn a_skipped_field_of_a_result_or_an_error_is_named() {
    fixture(LIMIT, serves, || {
        let says = ["`tag`", "values::Job`", "retry_runtime::Json"];
        assert_eq!(gives_job.remote(true).wait().unwrap(), Job::tagged());
        assert_lost(gives_job.remote(false).wait(), &says);
        match fails_with_job.remote(true).wait() {
            Err(CallError::Function(job, _)) => assert_eq!(job, Job::tagged()),
            other => panic!("{other:?}"),
        }
        assert_lost(fails_with_job.remote(false).wait(), &says);
        let mut results = gives_job.map([true, false]).into_iter();
        assert_eq!(results.next().unwrap().unwrap(), Job::tagged());
        assert_lost(results.next().unwrap(), &says);
    });
}

#[retry_runtime::test]
fn a_skipped_element_is_refused() {
    fixture(LIMIT, serves, || {
        // serde does not tell the format the index of this element.
        let pair = SparsePair(1, 0, vec![1]);
        refused!(echo_pair: SparsePair(1, 2, vec![3]), pair.clone() => "SparsePair", "Json");
        refused!(echo_pair: SparsePair(1, 2, vec![3]), SparsePair(1, 2, vec![]) => "SparsePair");
        let pair = SparseVariant::Pair(0, 1);
        refused!(echo_sparse: SparseVariant::Pair(1, 1), pair.clone() => "SparseVariant");
    });
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Untagged {
    Number(f64),
    Text(String),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
enum Internal {
    Unit,
    Point { x: u8 },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
struct TaggedStruct {
    list: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", content = "content")]
enum Adjacent {
    Unit,
    New(u8),
    Point { x: u8 },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Flat {
    id: u8,
    #[serde(flatten)]
    rest: BTreeMap<String, u8>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Outer {
    setting: Option<Untagged>,
    last: u8,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum FlatVariant {
    Plain(u8),
    Flat {
        #[serde(flatten)]
        inner: Newtype2,
    },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Newtype2 {
    x: u8,
}

echoes! {
    echo_untagged: Untagged;
    echo_internal: Internal;
    echo_tagged: TaggedStruct;
    echo_adjacent: Adjacent;
    echo_flat: Flat;
    echo_outer: Outer;
    echo_flat_variant: FlatVariant;
    echo_value: serde_json::Value;
}

#[retry_runtime::test]
fn types_that_need_a_format_with_names_are_refused() {
    fixture(LIMIT, serves, || {
        refused!(echo_untagged: Untagged::Number(1.0) => "values::Untagged`", "Json");
        refused!(echo_internal: Internal::Unit => "values::Internal`", "Json");
        refused!(echo_internal: Internal::Point { x: 1 } => "values::Internal`", "Json");
        refused!(echo_tagged: TaggedStruct { list: vec![1] } => "values::TaggedStruct`", "Json");
        for value in [Adjacent::Unit, Adjacent::New(1), Adjacent::Point { x: 1 }] {
            refused!(echo_adjacent: value.clone() => "values::Adjacent`", "Json");
        }
        let flat = Flat {
            id: 1,
            rest: BTreeMap::new(),
        };
        refused!(echo_flat: flat.clone() => "values::Flat`", "Json");
        let outer = |setting| Outer { setting, last: 1 };
        refused!(
            echo_outer: outer(None), outer(Some(Untagged::Text("x".into())))
            => "values::Untagged", "Json"
        );
        let flat = FlatVariant::Flat {
            inner: Newtype2 { x: 1 },
        };
        refused!(echo_flat_variant: FlatVariant::Plain(1), flat.clone() => "Flat", "Json");
        refused!(echo_value: serde_json::json!({"x": 1}) => "serde_json::value::Value`", "Json");
    });
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct NotWritten {
    #[serde(skip_serializing)]
    first: u8,
    second: u8,
    list: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct NotRead {
    #[serde(skip_deserializing)]
    first: u64,
    list: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct WrittenAsText {
    #[serde(serialize_with = "write_nothing")]
    number: u64,
    list: Vec<u8>,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
fn write_nothing<S: Serializer>(_: &u64, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str("")
}

/// Writes more elements than announced.
#[derive(Clone, Debug, PartialEq)]
struct Miscounted(Vec<u8>);

impl Serialize for Miscounted {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut sequence = to.serialize_seq(Some(0))?;
        for byte in &self.0 {
            sequence.serialize_element(byte)?;
        }
        sequence.end()
    }
}

impl<'de> Deserialize<'de> for Miscounted {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Vec::deserialize(from).map(Self)
    }
}

/// Writes more or fewer elements than announced, none of which takes up a byte.
#[derive(Clone, Debug, PartialEq)]
struct MiscountedUnits(usize);

impl Serialize for MiscountedUnits {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut sequence = to.serialize_seq(Some(3))?;
        for _ in 0..self.0 {
            sequence.serialize_element(&())?;
        }
        sequence.end()
    }
}

impl<'de> Deserialize<'de> for MiscountedUnits {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Vec::<()>::deserialize(from).map(|units| Self(units.len()))
    }
}

/// Does not announce the number of elements.
#[derive(Clone, Debug, PartialEq)]
struct Uncounted(Vec<u8>);

impl Serialize for Uncounted {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(self.0.iter().filter(|byte| **byte > 0))
    }
}

impl<'de> Deserialize<'de> for Uncounted {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Vec::deserialize(from).map(Self)
    }
}

/// The fields are swapped by hand: the encoding has the same length, but other fields.
#[derive(Clone, Debug, PartialEq)]
struct Swapped(u8, u16);

impl Serialize for Swapped {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        (self.0, self.1).serialize(to)
    }
}

impl<'de> Deserialize<'de> for Swapped {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let (second, first) = Deserialize::deserialize(from)?;
        Ok(Self(first, second))
    }
}

/// Both directions have the same number of fields, of the same types.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct User {
    #[serde(skip_deserializing)]
    id: String,
    name: String,
    #[serde(skip_serializing)]
    password: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Edit {
    None,
    User {
        #[serde(skip_deserializing)]
        before: u8,
        #[serde(skip_serializing)]
        after: u8,
    },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct RenamedField {
    #[serde(rename(serialize = "other"))]
    field: u8,
}

echoes! {
    echo_user: User;
    echo_users: Vec<User>;
    echo_edit: Edit;
    echo_renamed_field: RenamedField;
    echo_not_written: NotWritten;
    echo_not_read: NotRead;
    echo_written_as_text: WrittenAsText;
    echo_miscounted: (Miscounted, Vec<u8>);
    echo_miscounted_units: MiscountedUnits;
    echo_uncounted: Uncounted;
    echo_swapped: Vec<Swapped>;
}

#[retry_runtime::test]
fn types_whose_halves_differ_are_refused() {
    fixture(LIMIT, serves, || {
        // Each of these values would be decoded, or could be decoded, as another value.
        let value = NotWritten {
            first: 1,
            second: 0,
            list: vec![0],
        };
        refused!(echo_not_written: value.clone() => "values::NotWritten`", "skip_serializing");
        let value = NotRead {
            first: 0,
            list: vec![],
        };
        refused!(echo_not_read: value.clone() => "values::NotRead`");
        let value = WrittenAsText {
            number: 7,
            list: vec![1],
        };
        refused!(echo_written_as_text: value.clone() => "values::WrittenAsText`");
        let value = (Miscounted(vec![0; 8]), vec![]);
        refused!(echo_miscounted: (Miscounted(vec![]), vec![]), value.clone() => "Miscounted");
        for units in [0, 2, 4] {
            let value = MiscountedUnits(units);
            refused!(echo_miscounted_units: MiscountedUnits(3), value.clone() => "MiscountedUnits");
        }
        refused!(echo_uncounted: Uncounted(vec![1]) => "sequence", "Json");
        let value = User {
            id: "1".to_owned(),
            name: "Ada".to_owned(),
            password: "secret".to_owned(),
        };
        refused!(echo_user: value.clone() => "values::User`", "skip_serializing");
        refused!(echo_users: vec![], vec![value.clone(); 3] => "values::User");
        let value = Edit::User {
            before: 1,
            after: 2,
        };
        refused!(echo_edit: Edit::None, value.clone() => "values::Edit`");
        refused!(echo_renamed_field: RenamedField { field: 1 } => "values::RenamedField`");
        refused!(echo_swapped: vec![], vec![Swapped(1, 2)] => "values::Swapped");
    });
}

/// Serde counts skipped variants when it serializes, but not when it deserializes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Skipping {
    First(u8),
    #[serde(skip)]
    Local,
    Second(u8),
    Third(u8),
    ConnectionAcceptedByPeer(u8),
    ConnectionRejectedByPeer(u8),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum NotReadVariant {
    First(u8),
    #[serde(skip_deserializing)]
    Second(u8),
    Third(u8),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum RenamedVariant {
    First(u8),
    #[serde(rename(serialize = "Other"))]
    Second(u8),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum SkippingLast {
    First(u8),
    Second(u8),
    #[serde(skip)]
    Local,
}

echoes! {
    echo_skipping: Skipping;
    echo_not_read_variant: NotReadVariant;
    echo_renamed_variant: RenamedVariant;
    echo_skipping_last: SkippingLast;
}

#[retry_runtime::test]
fn a_variant_never_arrives_as_another_one() {
    fixture(LIMIT, serves, || {
        let first = Skipping::First(1);
        refused!(echo_skipping: first.clone(), Skipping::Second(1) => "variant of `Skipping`");
        refused!(echo_skipping: first.clone(), Skipping::Third(1) => "variant of `Skipping`");
        let long = Skipping::ConnectionAcceptedByPeer(1);
        refused!(echo_skipping: first.clone(), long.clone() => "variant of `Skipping`");
        refused!(echo_skipping: first.clone(), Skipping::Local => "Skipping::Local");
        let first = NotReadVariant::First(1);
        refused!(echo_not_read_variant: first.clone(), NotReadVariant::Second(1) => "NotReadVariant");
        refused!(echo_not_read_variant: first.clone(), NotReadVariant::Third(1) => "NotReadVariant");
        let first = RenamedVariant::First(1);
        refused!(echo_renamed_variant: first.clone(), RenamedVariant::Second(1) => "RenamedVariant");
        travels! { echo_skipping_last: SkippingLast::First(1), SkippingLast::Second(2); }
        let first = SkippingLast::First(1);
        refused!(echo_skipping_last: first.clone(), SkippingLast::Local => "SkippingLast::Local");
    });
}

echoes! {
    echo_v6: SocketAddrV6;
    echo_addresses: Vec<Option<SocketAddr>>;
    echo_boxed: Box<SocketAddrV6>;
    echo_json_v6: Json<SocketAddrV6>;
}

#[function(max_workers = 1)]
fn count_addresses(value: &[SocketAddr]) -> usize {
    value.len()
}

#[retry_runtime::test]
fn an_address_with_a_scope_is_refused() {
    fixture(LIMIT, serves, || {
        let plain = SocketAddrV6::new(Ipv6Addr::LOCALHOST, 80, 0, 0);
        let scoped = SocketAddrV6::new(Ipv6Addr::LOCALHOST, 80, 0, 3);
        refused!(echo_v6: plain, scoped => "SocketAddrV6", "Json");
        refused!(echo_boxed: Box::new(plain), Box::new(scoped) => "SocketAddrV6", "Json");
        let several = |last: SocketAddrV6| vec![None, Some(plain.into()), Some(last.into())];
        refused!(echo_addresses: several(plain), several(scoped) => "SocketAddrV6", "Json");
        assert_eq!(count_addresses.remote(&[plain.into()]).wait().unwrap(), 1);
        let scoped_too = [plain.into(), scoped.into()];
        assert_refused(
            count_addresses.remote(&scoped_too).wait(),
            &["SocketAddrV6"],
        );
        travels! { echo_json_v6: Json(plain), Json(scoped); }
    });
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Linked {
    next: Option<Arc<u8>>,
    back: Weak<u8>,
}

impl PartialEq for Linked {
    fn eq(&self, other: &Self) -> bool {
        self.next == other.next && self.back.upgrade() == other.back.upgrade()
    }
}

echoes! {
    echo_linked: Linked;
}

#[function(max_workers = 1)]
fn gives_weak() -> (Arc<u8>, Weak<u8>) {
    let value = Arc::new(7);
    (Arc::clone(&value), Arc::downgrade(&value))
}

#[retry_runtime::test]
fn a_weak_pointer_to_a_value_is_refused() {
    fixture(LIMIT, serves, || {
        let value = Arc::new(7);
        let linked = |back: Weak<u8>| Linked {
            next: Some(Arc::clone(&value)),
            back,
        };
        let weak = Arc::downgrade(&value);
        refused!(echo_linked: linked(Weak::new()), linked(weak.clone()) => "`Weak`", "Linked");
        assert_lost(gives_weak.remote().wait(), &["`Weak`"]);
        travels! { echo_linked: linked(Weak::new()), linked(Arc::downgrade(&Arc::new(1))); }
    });
}

#[retry_runtime::test]
fn a_path_that_is_no_text_is_refused() {
    use std::os::unix::ffi::OsStringExt;

    fixture(LIMIT, serves, || {
        let path = std::ffi::OsString::from_vec(vec![0xff]);
        refused!(
            echo_path: ("path".into(), "file".into()), (path.clone().into(), "file".into())
            => "UTF-8"
        );
        travels! { echo_path: ("path".into(), path.clone()); }
    });
}

// `Json`.

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Sparse {
    #[serde(skip_serializing_if = "is_zero")]
    zero: u8,
    #[serde(skip_serializing_if = "is_zero", default = "one")]
    one: u8,
    #[serde(skip_serializing_if = "is_zero", default)]
    right: u8,
}

fn one() -> u8 {
    1
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Ambiguous {
    Float(f64),
    Integer(i64),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Chain(Vec<Chain>);

impl Chain {
    fn of(length: u32) -> Self {
        (1..length).fold(Self(vec![]), |inner, _| Self(vec![inner]))
    }
}

impl Drop for Chain {
    fn drop(&mut self) {
        let mut rest = std::mem::take(&mut self.0);
        while let Some(mut next) = rest.pop() {
            rest.append(&mut next.0);
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Measured {
    value: Option<f64>,
}

echoes! {
    echo_json_job: Json<Job>;
    echo_json_untagged: Json<Untagged>;
    echo_json_internal: Json<Internal>;
    echo_json_adjacent: Json<Adjacent>;
    echo_json_flat: Json<Flat>;
    echo_json_value: Json<serde_json::Value>;
    echo_json_wide: Json<(u128, i128, f64, f32, char)>;
    echo_json_set: Json<HashSet<u8>>;
    echo_json_f64: Json<f64>;
    echo_json_measured: Json<Vec<Measured>>;
    echo_json_options: Json<Vec<Option<Option<u8>>>>;
    echo_json_keys: Json<HashMap<(u8, u8), u8>>;
    echo_json_numbers: Json<HashMap<u64, u8>>;
    echo_json_sparse: Json<Sparse>;
    echo_json_ambiguous: Json<Ambiguous>;
    echo_json_chain: Json<Chain>;
    echo_json_not_read: Json<NotRead>;
}

#[function(max_workers = 1)]
fn gives_json(value: f64) -> Json<f64> {
    Json(value)
}

#[retry_runtime::test]
fn json_carries_types_that_need_names() {
    fixture(LIMIT, serves, || {
        let flat = Flat {
            id: 1,
            rest: [("x".to_owned(), 2)].into(),
        };
        let numbers: HashMap<u64, u8> = (0..50).map(|key| (key, 1)).collect();
        travels! {
            echo_json_job: Json(Job::tagged()), Json(Job::untagged());
            echo_json_untagged: Json(Untagged::Number(1.0)), Json(Untagged::Text("x".into()));
            echo_json_internal: Json(Internal::Unit), Json(Internal::Point { x: 1 });
            echo_json_adjacent:
                Json(Adjacent::Unit), Json(Adjacent::New(1)), Json(Adjacent::Point { x: 1 });
            echo_json_flat: Json(flat.clone());
            echo_json_value: Json(serde_json::json!([1, {"x": null}, 1.5, "text"]));
            echo_json_wide:
                Json((u128::MAX, i128::MIN, 0.1 + 0.2, 16_777_217.0_f32 / 3.0, 'ß')),
                Json((1 << 64, -1, f64::MIN_POSITIVE, f32::MAX, '\0')),
                Json((0, 0, 5e-324, -0.0, '"'));
            echo_json_set: Json((0..100).collect());
            echo_json_numbers: Json(numbers.clone());
            echo_json_chain: Json(Chain::of(60));
        }
        let mut bits = 0x3ff0_0000_0000_0001_u64;
        for _ in 0..200 {
            bits = bits
                .wrapping_mul(0x5851_f42d_4c95_7f2d)
                .wrapping_add(0x1405_7b7e_f767_814f);
            let float = f64::from_bits(bits);
            if float.is_finite() {
                let back = echo_json_f64.remote(Json(float)).wait().unwrap();
                assert_eq!(back.0.to_bits(), bits);
            }
        }
    });
}

#[retry_runtime::test]
fn json_refuses_values_that_it_would_change() {
    fixture(LIMIT, serves, || {
        for float in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            refused!(echo_json_f64: Json(1.0), Json(float) => "NaN");
            assert_lost(gives_json.remote(float).wait(), &["NaN"]);
        }
        let measured = |value| Json(vec![Measured { value }]);
        refused!(
            echo_json_measured: measured(None), measured(Some(f64::NAN)) => "NaN", "`value`"
        );
        let some_none = Json(vec![Some(None)]);
        refused!(echo_json_options: Json(vec![None, Some(Some(1))]), some_none.clone() => "JSON");
        let keys = Json(HashMap::from([((1, 2), 3)]));
        refused!(echo_json_keys: Json(HashMap::new()), keys.clone() => "key must be a string");
        let sparse = |zero, one, right| Json(Sparse { zero, one, right });
        refused!(echo_json_sparse: sparse(1, 2, 0), sparse(0, 2, 0) => "missing field `zero`");
        refused!(echo_json_sparse: sparse(1, 2, 3), sparse(1, 0, 3) => "values::Sparse`", "JSON");
        let integer = Json(Ambiguous::Integer(1));
        refused!(echo_json_ambiguous: Json(Ambiguous::Float(1.5)), integer.clone() => "Ambiguous`");
        let value = Json(NotRead {
            first: 1,
            list: vec![],
        });
        refused!(echo_json_not_read: value.clone() => "values::NotRead`");
        refused!(echo_json_chain: Json(Chain::of(3)), Json(Chain::of(200)) => "JSON");
        let deep = Json(Chain::of(100_000));
        assert_refused(echo_json_chain.remote(deep).wait(), &["nested deeper"]);
    });
}

// Services.

/// A service that is created from a job.
struct Made(u8);

#[service(max_workers = 1)]
impl Made {
    /// Creates the service.
    #[setup]
    fn new(job: Job, by: u8) -> Self {
        Self(job.width + by)
    }

    /// Returns the value that it was created with.
    #[method]
    fn get(&self) -> u8 {
        self.0
    }
}

#[retry_runtime::test]
fn a_constructor_refuses_values_that_do_not_travel() {
    fixture(LIMIT, serves, || {
        assert_eq!(Made::with(Job::tagged(), 1).get.remote().wait().unwrap(), 2);
        let panic = std::panic::catch_unwind(|| Made::with(Job::untagged(), 1)).map(drop);
        let message = panic.expect_err("it is refused");
        let message = message.downcast_ref::<String>().expect("a text");
        assert_says(message, &["constructor", "`tag`", "values::Job`", "Json"]);
    });
}
