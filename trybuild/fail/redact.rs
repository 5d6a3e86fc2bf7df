#[retry_runtime::function(redact = "tokn")]
fn log_in(user: &str, token: &str) -> bool {
    user == token
}

#[retry_runtime::function(redact = [token])]
fn log_out(token: &str) -> bool {
    token.is_empty()
}

fn main() {
    retry_runtime::init();
    let _ = (log_in.remote("a", "b"), log_out.remote("a"));
}
