//! Output of the commands.

#[expect(clippy::print_stdout, reason = "what a command answers goes to standard output")]
pub(super) fn say(text: &str) {
    println!("{text}");
}

pub(super) fn tell(error: &anyhow::Error) {
    remark(format!("{error:#}").trim_end());
}

#[expect(clippy::print_stderr, reason = "what is no answer goes to standard error")]
pub(super) fn remark(text: &str) {
    eprintln!("idgate: {text}");
}
