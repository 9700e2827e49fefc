//! A pool goes on from a backup of its database.

use std::fs;

use repave_controller::clock;

use crate::fixture::{Pool, declare, devices, until};
use crate::{are_up, policy, runtime, wire_to, written};

#[test]
fn a_daemon_goes_on_from_a_backup_that_was_made_while_it_ran() {
    let pool = Pool::new(None);
    runtime().block_on(async {
        let daemon = pool.start().await;
        let (address, control) = (daemon.address, &daemon.control);
        declare(control, &policy(2, 0)).await;
        let all = devices(control, &wire_to(&daemon), 1..4).await;
        until(control, "2 web", are_up(2, 0)).await;
        let backup = pool.state().join("backup.db");
        control.store().backup(&backup).await.unwrap();
        // What happens now is not in it: a server is purposed, another one gets a name.
        declare(control, &policy(2, 1)).await;
        until(control, "2 web and 1 db", are_up(2, 1)).await;
        let named = (Some("gone".to_owned()), Default::default());
        control.describe(all[0].id, None, named, "test").await.unwrap();
        daemon.stop().await;

        for name in ["controller.db", "controller.db-wal", "controller.db-shm"] {
            let _ = fs::remove_file(pool.state().join(name));
        }
        fs::rename(&backup, pool.state().join("controller.db")).unwrap();
        let begin_ms = clock::now_ms();
        let daemon = pool.start_at(address).await;
        let control = &daemon.control;
        assert_eq!(control.server(all[0].id).await.unwrap().server.name, None);
        // Servers are heard and answered above what they accepted since, web stays what it is, and
        // what became db is given back, since the old policy wants none.
        let servers = until(control, "everybody again", |servers| {
            are_up(2, 0)(servers)
                && servers.iter().all(|kept| kept.server.seen.at_ms > begin_ms)
                && servers.iter().any(|kept| kept.server.standing.name() == "staying")
        })
        .await;
        assert_eq!(servers.len(), 3);
        assert_eq!(written(&all), 3);
        drop(all);
        daemon.stop().await;
    });
}
