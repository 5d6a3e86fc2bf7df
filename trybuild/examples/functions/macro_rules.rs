//! A macro may generate a function from tokens that are all passed in.
use retry_runtime::function;

macro_rules! job {
    ($(#[$meta:meta])* $vis:vis $name:ident($parameter:ident: $ty:ty) -> $output:ty, $times:expr, $limit:literal, $body:block) => {
        $(#[$meta])*
        #[function(retries = $times, timeout = $limit)]
        $vis fn $name($parameter: $ty) -> $output $body
    };
}

job! {
    /// Adds one.
    pub(crate) add(number: u64) -> u64, 3, "3s", { number + 1 }
}
job!(count(words: Vec<String>) -> Result<usize, String>, TIMES, "500ms", { Ok(words.len()) });
job!(measure(text: &str) -> usize, 1 + 1, "1m", { text.len() });

const TIMES: u32 = 4;

pub(crate) fn main() {
    assert_eq!(add(1), 2);
    assert_eq!(add.spec().retries.max_retries(), 3);
    assert_eq!(count.spec().retries.max_retries(), 4);
    assert_eq!(measure.spec().retries.max_retries(), 2);
    let _ = measure.remote("text");
    let _ = count.map([vec![String::new()]]);
}
