//! The types that the items of a map may have.
#![deny(warnings)]
use retry_runtime::{function, service};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

/// Neither `Clone` nor `Copy`.
#[derive(Serialize, Deserialize)]
struct Job(u64);

#[function]
fn of_path(_: &Path) {}

#[function]
fn of_text(_: &str) {}

#[function]
fn of_bytes(_: &[u8]) {}

#[function]
fn of_texts(_: &[String]) {}

#[function]
fn of_job(_: &Job) {}

#[function]
fn of_owned_job(_: Job) {}

#[function]
fn of_number(_: u64) {}

#[function]
fn of_owned_text(_: String) {}

#[function]
fn of_owned_path(_: PathBuf) {}

#[function]
fn of_owned_bytes(_: Vec<u8>) {}

#[function]
fn of_pair(_: (u32, u32)) {}

#[function]
fn of_two(_: &Path, _: u32) {}

#[function]
fn of_three(_: &str, _: &Job, _: Vec<u8>) {}

#[function]
fn of_option(_: Option<u64>) {}

#[function]
fn of_nothing() {}

#[function(batch(max_size = 8))]
fn of_batched(texts: Vec<String>) -> Vec<usize> {
    texts.iter().map(String::len).collect()
}

#[derive(Debug)]
struct Index;

#[service]
impl Index {
    #[setup]
    fn new() -> Self {
        Self
    }

    #[method]
    fn find(&self, _: &Path, _: u32) {}

    #[method]
    async fn read(&self, _: &Path) {}
}

/// A handle has a type that can be named, and may be a field of a type that is `Clone` and `Debug`.
#[derive(Clone, Debug)]
struct App {
    index: IndexHandle,
}

fn is_clone_and_debug<T: Clone + Debug>(_: &T) {}

fn is_debug<T: Debug>(_: &T) {}

pub(crate) fn main() {
    let paths = vec![PathBuf::new()];
    let _ = of_path.map(&paths);
    let _ = of_path.map(&paths[..]);
    let _ = of_path.map(paths.iter());
    let _ = of_path.map(paths.iter().filter(|path| path.exists()));
    let _ = of_path.map(&[&paths[0]]);
    let _ = of_path.map(paths.iter().map(PathBuf::as_path));
    let _ = of_path.map(paths.clone());
    let _ = of_path.map(["a", "b"]);
    let _ = of_path.map(&[String::from("a")]);
    let _ = of_path.map([Cow::Borrowed(Path::new("a"))]);
    let _ = of_path.map([PathBuf::new()].map(PathBuf::into_boxed_path));
    let _ = of_path.for_each(&paths);
    let _ = of_owned_path.map(&paths);
    let _ = of_owned_path.map(paths.iter().map(PathBuf::as_path));
    let _ = of_owned_path.map(paths);

    let strings = vec![String::new()];
    let _ = of_text.map(&strings);
    let _ = of_text.map(&strings[1..]);
    let _ = of_text.map(strings.iter().rev());
    let _ = of_text.map(["a", "b"]);
    let _ = of_text.map(&["a", "b"]);
    let _ = of_text.map("a b".split(' '));
    let _ = of_text.map("a\nb".lines());
    let _ = of_text.map([Box::<str>::from("a")]);
    let _ = of_text.map(&[Arc::<str>::from("a")]);
    let _ = of_text.map([Cow::Borrowed("a")]);
    let _ = of_owned_text.map(&strings);
    let _ = of_owned_text.map("a\nb".lines());
    let _ = of_owned_text.map(["a", "b"]);
    let _ = of_owned_text.map(&["a", "b"]);
    let _ = of_owned_text.map([Path::new("a").to_string_lossy()]);
    let _ = of_texts.map([strings.clone()]);
    let _ = of_texts.map(&[strings.clone()]);
    let _ = of_texts.map(strings.chunks(2));
    let _ = of_batched.map(&strings);
    let _ = of_batched.map("a b".split(' '));
    let _ = of_text.map(strings);

    let blobs = vec![vec![1_u8]];
    let _ = of_bytes.map(&blobs);
    let _ = of_bytes.map(&blobs[..]);
    let _ = of_bytes.map(blobs.iter());
    let _ = of_bytes.map([b"ab", b"cd"]);
    let _ = of_bytes.map(&[[1, 2], [3, 4]]);
    let _ = of_bytes.map([vec![1, 2], vec![3]]);
    let _ = of_bytes.map(blobs[0].chunks(16));
    let _ = of_bytes.map(["text"]);
    let _ = of_owned_bytes.map(&blobs);
    let _ = of_owned_bytes.map(blobs[0].chunks(16));
    let _ = of_owned_bytes.map([vec![1, 2], vec![3]]);
    let _ = of_bytes.map(blobs);

    let jobs = vec![Job(1)];
    let _ = of_job.map(&jobs);
    let _ = of_job.map(jobs.iter());
    let _ = of_job.map(
        jobs.iter()
            .filter(|job| job.0 > 0)
            .collect::<Vec<_>>()
            .iter(),
    );
    let _ = of_owned_job.map(&jobs);
    let _ = of_owned_job.map(&jobs[..]);
    let _ = of_owned_job.map(&[Arc::new(Job(1))]);
    let _ = of_job.map([Arc::new(Job(1))]);
    let _ = of_job.map([Rc::new(Job(1))]);
    let _ = of_job.map(&[Box::new(Job(1))]);
    let _ = of_job.map(BTreeMap::from([(1, Job(1))]).values());
    let _ = of_owned_job.map(jobs);
    let _ = of_job.map([Job(1)]);

    let numbers = vec![1, 2, 3];
    let _ = of_number.map(&numbers);
    let _ = of_number.map(numbers.iter());
    let _ = of_number.map(&[1, 2, 3]);
    let _ = of_number.map(numbers);
    let _ = of_number.map(0..10);
    let _ = of_number.map((0..10).map(|number| number * 2));
    let _ = of_number.map("1 2".split(' ').flat_map(str::parse::<u64>));
    let _ = of_option.map([None, Some(1)]);
    let _ = of_option.map(&[None, Some(1)]);
    let _ = of_nothing.map([(), ()]);
    let _ = of_nothing.map(&[(), ()]);
    let _ = of_nothing.map(std::iter::repeat_n((), 3));

    let pairs = vec![(1, 2)];
    let _ = of_pair.map(&pairs);
    let _ = of_pair.map(pairs);
    let _ = of_pair.map(vec![(1, 2)]);

    let files = vec![(PathBuf::new(), 1)];
    let _ = of_two.map(&files);
    let _ = of_two.map(files.iter());
    let _ = of_two.map(files.iter().map(|(path, size)| (path, size)));
    let _ = of_two.map(files.iter().map(|(path, _)| path).zip(0..));
    let _ = of_two.map(HashMap::from([(PathBuf::new(), 1)]).iter());
    let _ = of_two.map(BTreeMap::from([("a", 1)]));
    let _ = of_two.map(files);
    let _ = of_two.map([("a", 1), ("b", 2)]);
    let _ = of_three.map(&[("a", Job(1), vec![1])]);
    let _ = of_three.map([(String::new(), &Job(1), &[1, 2][..])]);

    let app = App {
        index: Index::with(),
    };
    is_clone_and_debug(&app);
    is_clone_and_debug(&app.index.find);
    is_clone_and_debug(&of_number);
    let files = vec![(PathBuf::new(), 1)];
    let _ = app.index.find.map(&files);
    let _ = app.index.read.map(files.iter().map(|(path, _)| path));

    let map = || of_number.map(0..2);
    is_debug(&map());
    is_debug(&map().into_iter());
    is_debug(&map().stream());
    is_debug(&map().try_collect::<Vec<_>>());
    is_debug(&of_number.for_each(0..2));
    let collected: Result<HashMap<usize, ()>, _> = map().indexed().try_collect().wait();
    let _: Vec<(usize, Result<(), _>)> = map().unordered().indexed().into_iter().collect();
    let _ = map().indexed().unordered().window(1).stream();
    let _ = async { map().indexed().await };
    let _ = collected;
}
