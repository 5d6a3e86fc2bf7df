struct Job(u64);

#[retry_runtime::function]
fn run(jobs: Vec<Job>) -> u64 {
    jobs.iter().map(|job| job.0).sum()
}

fn main() {
    println!("{}", run.remote(vec![Job(1)]).wait().unwrap());
    let _ = run.map([vec![Job(1)]]);
}
