#[derive(serde::Serialize)]
struct Job(u64);

#[retry_runtime::function]
fn run(job: Option<Job>) -> u64 {
    job.map_or(0, |job| job.0)
}

fn main() {
    println!("{}", run.remote(Some(Job(1))).wait().unwrap());
}
