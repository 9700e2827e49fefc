//! A switch port that carries one VLAN only: the machine behind it must tag its frames (IEEE
//! 802.1Q), and the network beyond it sees them without tags. Untagged frames and those of other
//! VLANs are dropped, as a switch does. The host's kernel needs no 802.1Q for it: QEMU hands every
//! frame of the card to us as a datagram, and takes the answer's frames in the same way.

use std::io::{self, ErrorKind};
use std::net::Shutdown;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

/// Destination and source.
const ADDRESSES_BYTES: usize = 12;
/// The tag's protocol identifier (IEEE 802.1Q, table 9-1).
const TAG_PROTOCOL: [u8; 2] = [0x81, 0x00];
const TAG_BYTES: usize = 4;
/// The part of the tag's control information that is the VLAN (§9.6); above it is the priority.
const VLAN_BITS: u16 = 0x0fff;
/// More than QEMU ever hands over in one datagram.
const FRAME_BYTES: usize = 70 * 1024;
/// A frame that QEMU does not take for so long is lost, as on any wire.
const SEND_LIMIT: Duration = Duration::from_secs(1);

/// The two ends of a port, as sockets in the machine's folder. QEMU's own are these with
/// [`QEMU_SUFFIX`].
pub(crate) const ENDS: [&str; 2] = ["trunk", "access"];
/// Ends the name of the socket that QEMU binds.
pub(crate) const QEMU_SUFFIX: &str = ".qemu";

/// The name of one end of the port of a network card.
pub(crate) fn socket_name(nic: &str, end: &str) -> String {
    format!("{nic}.{end}")
}

/// A running port; dropping it pulls both cables.
#[derive(Debug)]
pub(crate) struct Port {
    ends: [UnixDatagram; 2],
}

impl Port {
    /// Starts the port of a card of the machine in `dir`. Must be there before QEMU is.
    pub(crate) fn start(dir: &Path, nic: &str, vlan: u16) -> io::Result<Self> {
        let paths = ENDS.map(|end| dir.join(socket_name(nic, end)));
        let [trunk, access] = [bind(&paths[0])?, bind(&paths[1])?];
        let [to_trunk, to_access] = paths.map(|path| {
            let mut name = path.into_os_string();
            name.push(QEMU_SUFFIX);
            PathBuf::from(name)
        });
        let ends = [trunk.try_clone()?, access.try_clone()?];
        let [trunk_too, access_too] = [trunk.try_clone()?, access.try_clone()?];
        let spawn = |way: &str, work: Box<dyn FnOnce() + Send>| {
            thread::Builder::new().name(format!("{nic}-{way}")).spawn(work).map(drop)
        };
        let inward = move || relay(&trunk, &access_too, &to_access, |f| untagged(f, vlan));
        spawn("in", Box::new(inward))?;
        let outward = move || relay(&access, &trunk_too, &to_trunk, |f| tagged(f, vlan));
        spawn("out", Box::new(outward))?;
        Ok(Self { ends })
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        for end in &self.ends {
            // Wakes the thread that waits for a frame, which then ends.
            let _ = end.shutdown(Shutdown::Both);
        }
    }
}

/// A socket at `path`; one that an earlier power-on left there is replaced.
fn bind(path: &Path) -> io::Result<UnixDatagram> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let socket = UnixDatagram::bind(path)?;
    socket.set_write_timeout(Some(SEND_LIMIT))?;
    Ok(socket)
}

/// Hands over what `change` makes of each frame, until the port is dropped.
fn relay(
    from: &UnixDatagram,
    by: &UnixDatagram,
    to: &Path,
    change: impl Fn(&[u8]) -> Option<Vec<u8>>,
) {
    let mut frame = vec![0; FRAME_BYTES];
    loop {
        match from.recv(&mut frame) {
            // No frame is empty: this is the end.
            Ok(0) => return,
            Ok(length) => {
                if let Some(changed) = change(&frame[..length]) {
                    // QEMU may not be there yet, or no more.
                    let _ = by.send_to(&changed, to);
                }
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

/// The frame without its tag, if it has one of this VLAN.
fn untagged(frame: &[u8], vlan: u16) -> Option<Vec<u8>> {
    let (addresses, rest) = frame.split_at_checked(ADDRESSES_BYTES)?;
    let (tag, rest) = rest.split_first_chunk::<TAG_BYTES>()?;
    let control = u16::from_be_bytes([tag[2], tag[3]]);
    (tag[..2] == TAG_PROTOCOL && control & VLAN_BITS == vlan).then(|| [addresses, rest].concat())
}

/// The frame with a tag of this VLAN.
fn tagged(frame: &[u8], vlan: u16) -> Option<Vec<u8>> {
    let (addresses, rest) = frame.split_at_checked(ADDRESSES_BYTES)?;
    Some([addresses, &TAG_PROTOCOL, &vlan.to_be_bytes(), rest].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    const VLAN: u16 = 0x123;
    const PLAIN: &[u8] = b"to..tofrom..\x08\x00an IPv4 packet";
    const TAGGED: &[u8] = b"to..tofrom..\x81\x00\x01\x23\x08\x00an IPv4 packet";

    #[test]
    fn only_frames_with_the_tag_of_the_vlan_pass() {
        let check = |frame: &[u8], expected: Option<&[u8]>| {
            assert_eq!(untagged(frame, VLAN).as_deref(), expected);
        };
        check(TAGGED, Some(PLAIN));
        check(b"to..tofrom..\x81\x00\xe1\x23\x08\x00an IPv4 packet", Some(PLAIN));
        check(b"to..tofrom..\x81\x00\x01\x24\x08\x00an IPv4 packet", None);
        check(PLAIN, None);
        check(&TAGGED[..15], None);
        check(b"", None);
    }

    #[test]
    fn frames_cross_the_port_in_both_ways_until_it_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let port = Port::start(dir.path(), "nic0", VLAN).unwrap();
        let path = |end: &str| dir.path().join(socket_name("nic0", end));
        let [card, network] = ENDS.map(|end| {
            let own = dir.path().join(socket_name("nic0", end) + QEMU_SUFFIX);
            UnixDatagram::bind(own).unwrap()
        });
        let check = |from: &UnixDatagram, end, frame, to: &UnixDatagram, expected: &[u8]| {
            from.send_to(frame, path(end)).unwrap();
            let mut received = [0; 100];
            let length = to.recv(&mut received).unwrap();
            assert_eq!(&received[..length], expected);
        };
        card.send_to(PLAIN, path("trunk")).unwrap();
        check(&card, "trunk", TAGGED, &network, PLAIN);
        check(&network, "access", PLAIN, &card, TAGGED);
        drop(port);
        // A second power-on finds the sockets of the first, and replaces them.
        let _port = Port::start(dir.path(), "nic0", VLAN).unwrap();
        check(&card, "trunk", TAGGED, &network, PLAIN);
    }
}
