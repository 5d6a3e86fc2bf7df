//! A function may use types that are as private as the function itself.
mod jobs {
    use retry_runtime::function;

    #[derive(serde::Serialize, serde::Deserialize)]
    struct Job(u64);

    #[derive(serde::Serialize, serde::Deserialize)]
    pub(super) struct Failed(pub(super) u64);

    #[function]
    fn start(job: Job) -> u64 {
        job.0
    }

    #[function]
    pub(super) async fn later(failed: &Failed) -> Result<Failed, Failed> {
        Ok(Failed(failed.0))
    }

    pub(super) fn all() -> u64 {
        let _ = start.map([Job(1), Job(2)]);
        start(Job(3))
    }
}

pub(crate) fn main() {
    assert_eq!(jobs::all(), 3);
    let _ = jobs::later.remote(&jobs::Failed(1));
}
