//! `fake-openai`: a fake LLM API server for load tests and CI.

#![forbid(unsafe_code)]

mod cli;

use std::{future::Future, process::ExitCode};

use cli::{Failure, StatusLine, Task};
use fake_openai::{Config, Server, core::panics};

/// Default of `RUST_LOG`. Clients that send no HTTP are not logged: a port scan would fill the disk.
const LOG_FILTER: &str = "warn,actix_http::h1::dispatcher=off,fake_openai=info,access=info";

fn main() -> ExitCode {
    match cli::parse().and_then(execute) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

fn execute(task: Task) -> Result<(), Failure> {
    match task {
        Task::Print(text) => {
            cli::print(&text);
            Ok(())
        }
        Task::Healthcheck(url) => cli::healthcheck(&url),
        Task::Report(options, token) => cli::report(&options, token.as_deref()),
        Task::Serve(config) => serve(*config),
        Task::Bench(config, options) => {
            prepare(None);
            cli::bench(&config, &options)
        }
    }
}

/// Prepares the process for serving: logging, and the limit on open files.
fn prepare(status_line: Option<&StatusLine>) {
    let mut logger = env_logger::Builder::from_env(env_logger::Env::default().default_filter_or(LOG_FILTER));
    if let Some(line) = status_line {
        line.make_room_for(&mut logger);
    }
    logger.init();
    panics::install_hook();
    // Many systems start a program with a limit of 1024 open files. A load test opens more connections.
    if let Err(error) = rlimit::increase_nofile_limit(u64::MAX) {
        log::warn!("the limit on open files cannot be raised: {error}");
    }
}

fn serve(config: Config) -> Result<(), Failure> {
    let status_line = StatusLine::on_terminal(&config);
    prepare(status_line.as_ref());
    let failure = |error: std::io::Error| Failure::Machine(error.to_string());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failure)?;
    runtime.block_on(async {
        let stop = signals().map_err(failure)?;
        let server = Server::bind(config)?;
        // Before the URL is printed: a reader of the URL may send the signal.
        reload_on_hangup(server.reloader()).map_err(failure)?;
        cli::announce(&server);
        let reporter = server.reporter();
        if let Some(line) = &status_line {
            tokio::spawn(line.clone().run(server.activity()));
        }
        let stopped = server.run(stop).await;
        if let Some(line) = &status_line {
            line.end();
        }
        let stopped = stopped?;
        log::info!("stopped: {} requests taken, {} of them cut", stopped.taken, stopped.cut);
        if stopped.taken > 0 {
            reporter.report(None).summary().iter().for_each(|line| log::info!("{line}"));
        }
        Ok(())
    })
}

/// Returns a future that completes at the first SIGTERM or SIGINT. The second ends the program at once.
#[cfg(unix)]
fn signals() -> std::io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        let mut next = async || tokio::select! { _ = term.recv() => "SIGTERM", _ = int.recv() => "SIGINT" };
        // Not an argument of the log line: those are evaluated only if the level is logged.
        let name = next().await;
        log::info!("{name}: no new connections are accepted, running requests finish; send it again to stop at once");
        // On a thread of its own: the end of the server writes files, and a disk or a pipe can block the others.
        std::thread::spawn(move || {
            let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
            runtime.block_on(async {
                tokio::select! { _ = term.recv() => {}, _ = int.recv() => {} }
            });
            log::warn!("stopped at once");
            std::process::exit(1);
        });
    })
}

/// Reloads fixtures and settings at each SIGHUP. A reload that fails changes nothing.
#[cfg(unix)]
fn reload_on_hangup(reloader: fake_openai::Reloader) -> std::io::Result<()> {
    let mut hangup = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup())?;
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            let reload = || cli::configuration().and_then(|config| Ok(reloader.reload(config)?));
            let defect = |panic: panics::Panic| Err(Failure::Machine(panic.to_string()));
            match panics::catch(reload).unwrap_or_else(defect) {
                Ok(reloaded) => log::info!("SIGHUP: {reloaded}"),
                Err(failure) => {
                    log::error!("SIGHUP: not reloaded, the server goes on as before: {}", failure.text().trim_end());
                }
            }
        }
    });
    Ok(())
}

#[cfg(not(unix))]
fn reload_on_hangup(_: fake_openai::Reloader) -> std::io::Result<()> {
    Ok(())
}

/// Returns a future that completes at Ctrl-C. The second ends the program at once.
#[cfg(not(unix))]
fn signals() -> std::io::Result<impl Future<Output = ()>> {
    Ok(async {
        let _ = tokio::signal::ctrl_c().await;
        tokio::spawn(async {
            let _ = tokio::signal::ctrl_c().await;
            std::process::exit(1);
        });
    })
}
