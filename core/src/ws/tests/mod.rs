mod conn;
mod handshake;
