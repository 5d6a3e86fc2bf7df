#[derive(serde::Serialize, serde::Deserialize)]
struct Job(u64);

#[retry_runtime::function(timeout = "3s")]
async fn run(job: Job) -> u64 {
    job.0
}

fn main() {
    let job = Job(1);
    println!("{}", run.remote(&job).wait().unwrap());
}
