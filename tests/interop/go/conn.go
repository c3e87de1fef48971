package main

import (
	"io"
	"time"

	"github.com/gorilla/websocket"
)

// conn makes a byte stream of a WebSocket: one binary message per write, borders between messages mean
// nothing, closing is a bare TCP close (wire protocol 3.6).
type conn struct {
	ws     *websocket.Conn
	reader io.Reader
}

func (c *conn) Read(p []byte) (int, error) {
	for {
		if c.reader == nil {
			kind, reader, err := c.ws.NextReader()
			if err != nil {
				if websocket.IsUnexpectedCloseError(err) {
					return 0, io.EOF
				}
				return 0, err
			}
			if kind != websocket.BinaryMessage {
				return 0, &unexpected{kind}
			}
			c.reader = reader
		}
		n, err := c.reader.Read(p)
		if err == io.EOF {
			// The end of a message is not the end of the stream, and an empty message is nothing.
			c.reader = nil
			if n == 0 {
				continue
			}
			err = nil
		}
		return n, err
	}
}

func (c *conn) Write(p []byte) (int, error) {
	if err := c.ws.WriteMessage(websocket.BinaryMessage, p); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (c *conn) Close() error { return c.ws.NetConn().Close() }

type unexpected struct{ kind int }

func (u *unexpected) Error() string { return "a message that is not binary" }

// patience bounds the handshake.
const patience = 60 * time.Second
