mod jobs {
    #[derive(serde::Serialize, serde::Deserialize)]
    struct Job(u64);

    #[retry_runtime::function]
    pub fn start(job: Job) -> u64 {
        job.0
    }
}

fn main() {}
