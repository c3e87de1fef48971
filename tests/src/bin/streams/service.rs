//! A service of bytes: each connection begins with what it is for.

use std::io::{self, Read, Write};
use std::net::TcpStream;

use piko_tests::service::Service;

/// Payload per read and write.
pub(crate) const BLOCK: usize = 64 * 1024;

/// Sends so many bytes of the pattern.
pub(crate) const DOWN: u8 = b'd';
/// The same out of a small buffer: those of a thousand senders that wait would fill what the kernel has for TCP, which
/// then drops segments on loopback, too.
pub(crate) const DOWN_OF_MANY: u8 = b'm';
/// Reads so many bytes, compares each with the pattern, and says in one byte whether all were right.
pub(crate) const UP: u8 = b'u';
/// Gives back what comes.
pub(crate) const ECHO: u8 = b'e';

/// The answer to [`UP`].
pub(crate) const RIGHT: u8 = b'k';

pub(crate) fn start() -> Service {
    Service::scripted(|stream| {
        // How a connection ends is seen by its client.
        let _ = serve(stream);
    })
}

/// Asks for something, on a connection that is there.
pub(crate) fn ask(stream: &mut TcpStream, what: u8, bytes: u64) -> io::Result<()> {
    let mut head = vec![what];
    head.extend(bytes.to_be_bytes());
    stream.write_all(&head)
}

fn serve(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut head = [0; 9];
    stream.read_exact(&mut head)?;
    let [what, bytes @ ..] = head;
    let bytes = u64::from_be_bytes(bytes);
    match what {
        DOWN => send(&mut stream, bytes),
        DOWN_OF_MANY => {
            rustix::net::sockopt::set_socket_send_buffer_size(&stream, 32 << 10)?;
            send(&mut stream, bytes)
        }
        UP => {
            let right = receive(&mut stream, bytes)?;
            stream.write_all(&[if right { RIGHT } else { b'x' }])
        }
        _ => {
            let mut buf = vec![0; BLOCK];
            loop {
                match stream.read(&mut buf)? {
                    0 => return Ok(()),
                    n => stream.write_all(&buf[..n])?,
                }
            }
        }
    }
}

/// Sends `bytes` bytes of the pattern.
pub(crate) fn send(stream: &mut TcpStream, bytes: u64) -> io::Result<()> {
    let mut buf = vec![0; BLOCK];
    let mut offset = 0;
    while offset < bytes {
        let len = (bytes - offset).min(BLOCK as u64) as usize;
        fill(offset, &mut buf[..len]);
        stream.write_all(&buf[..len])?;
        offset += len as u64;
    }
    Ok(())
}

/// Reads `bytes` bytes; whether all of them are those of the pattern.
pub(crate) fn receive(stream: &mut TcpStream, bytes: u64) -> io::Result<bool> {
    let (mut buf, mut want) = (vec![0; BLOCK], vec![0; BLOCK]);
    let (mut offset, mut right) = (0, true);
    while offset < bytes {
        let room = (bytes - offset).min(BLOCK as u64) as usize;
        let n = stream.read(&mut buf[..room])?;
        if n == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        fill(offset, &mut want[..n]);
        right &= buf[..n] == want[..n];
        offset += n as u64;
    }
    Ok(right)
}

/// The pattern from `offset` on: words that are a hash of their place, so that no piece can stand in for another.
fn fill(offset: u64, buf: &mut [u8]) {
    let word = |index: u64| index.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes();
    let within = (offset % 8) as usize;
    let first = word(offset / 8);
    let (head, rest) = buf.split_at_mut(((8 - within) % 8).min(buf.len()));
    head.copy_from_slice(&first[within..within + head.len()]);
    for (index, chunk) in (offset.div_ceil(8)..).zip(rest.chunks_mut(8)) {
        chunk.copy_from_slice(&word(index)[..chunk.len()]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pattern_does_not_depend_on_the_pieces() {
        let mut whole = [0; 200];
        fill(0, &mut whole);
        for offset in 0..40 {
            for len in 0..40 {
                let mut piece = vec![0; len];
                fill(offset as u64, &mut piece);
                assert_eq!(piece, whole[offset..offset + len], "{offset} {len}");
            }
        }
    }
}
