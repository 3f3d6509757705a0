//! The binary: everything lives in the library, so that tests and benchmarks can use it.

fn main() -> std::process::ExitCode {
    dagster_taskiq_tui::cli::main()
}
