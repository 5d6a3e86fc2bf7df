struct Index(Vec<String>);

#[retry_runtime::service]
impl Index {
    #[setup]
    fn open(path: &str) -> Self {
        Self(vec![path.to_owned()])
    }

    #[method]
    fn find<T: AsRef<str>>(&self, word: T) -> Option<usize> {
        self.0.iter().position(|line| line.contains(word.as_ref()))
    }
}

fn main() {
    let index = Index::with("words");
    println!("{:?}", index.find.remote("a").wait().unwrap());
}
