package main

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"flag"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"
	"github.com/hashicorp/yamux"
)

// plan is what serve shall send.
type plan struct {
	requests, concurrency int
	method, target        string
	size                  int64
	chunked, raw          bool
}

// serve plays a server.
func serve(args []string) int {
	flags := flag.NewFlagSet("serve", flag.ContinueOnError)
	addr := flags.String("addr", "127.0.0.1:0", "listen address")
	var p plan
	flags.IntVar(&p.requests, "requests", 1, "requests to send")
	flags.IntVar(&p.concurrency, "concurrency", 1, "requests at the same time")
	flags.StringVar(&p.method, "method", "GET", "method")
	flags.StringVar(&p.target, "target", "/hello", "request target")
	flags.Int64Var(&p.size, "size", 0, "bytes of the request's body")
	flags.BoolVar(&p.chunked, "chunked", false, "send the body without a length")
	flags.BoolVar(&p.raw, "raw", false, "write the body alone and half-close")
	goAway := flags.Int("goaway", -1, "send this go-away code at the end")
	stay := flags.Duration("stay", 0, "keep the tunnel open for this time after the last request")
	timeout := flags.Duration("timeout", 30*time.Second, "limit for the whole run")
	if flags.Parse(args) != nil || flags.NArg() > 0 || p.requests < 0 || p.concurrency < 1 {
		return 2
	}
	if *goAway > 2 {
		return 2
	}
	listener, err := net.Listen("tcp", *addr)
	if err != nil {
		say("lost", fields{"error": err.Error()})
		return 1
	}
	defer listener.Close()
	late := time.After(*timeout)
	tunnels := make(chan tunnel, 1)
	go func() { _ = http.Serve(listener, &upgrader{tunnels: tunnels}) }()
	say("listening", fields{"addr": listener.Addr().String()})

	var t tunnel
	select {
	case t = <-tunnels:
	case <-late:
		say("lost", fields{"error": "no tunnel in time"})
		return 1
	}
	session, err := yamux.Server(t.conn, muxConfig())
	if err != nil {
		say("lost", fields{"error": err.Error()})
		return 1
	}
	say("connected", fields{"endpoint": t.endpoint})
	done := make(chan int, 1)
	go func() { done <- send(session, p) }()
	select {
	case failed := <-done:
		say("done", fields{"ok": p.requests - failed, "failed": failed})
		if failed > 0 {
			_ = session.Close()
			return 1
		}
	case <-session.CloseChan():
		say("lost", fields{"error": "the tunnel ended"})
		return 1
	case <-late:
		say("lost", fields{"error": "timeout"})
		return 1
	}
	select {
	case <-time.After(*stay):
	case <-session.CloseChan():
		say("lost", fields{"error": "the tunnel ended"})
		return 1
	}
	if *goAway >= 0 {
		sendGoAway(session, t.conn, *goAway)
	}
	_ = session.Close()
	say("closed", nil)
	return 0
}

// sendGoAway writes the frame itself for the codes that the library never sends on demand. No request is
// open any more, and a write of the WebSocket is one message, so it cannot fall into another frame.
func sendGoAway(session *yamux.Session, c *conn, code int) {
	if code == 0 {
		_ = session.GoAway()
		// GoAway only queues the frame; a ping that comes back shows that it was written.
		_, _ = session.Ping()
		return
	}
	_, _ = c.Write([]byte{0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, byte(code)})
}

type tunnel struct {
	conn     *conn
	endpoint string
}

// upgrader takes one tunnel and refuses all others.
type upgrader struct {
	tunnels chan<- tunnel
	taken   atomic.Bool
}

func (u *upgrader) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	endpoint, ok := strings.CutPrefix(r.URL.Path, upstreamPath)
	if !ok || endpoint == "" || strings.Contains(endpoint, "/") || r.Method != http.MethodGet {
		http.NotFound(w, r)
		return
	}
	if !u.taken.CompareAndSwap(false, true) {
		http.Error(w, "one tunnel is enough", http.StatusServiceUnavailable)
		return
	}
	ws, err := (&websocket.Upgrader{HandshakeTimeout: patience}).Upgrade(w, r, nil)
	if err != nil {
		u.taken.Store(false)
		return
	}
	u.tunnels <- tunnel{&conn{ws: ws}, endpoint}
}

// send runs the plan and says how many requests failed.
func send(session *yamux.Session, p plan) int {
	var failed atomic.Int64
	var all sync.WaitGroup
	slots := make(chan struct{}, p.concurrency)
	for n := range p.requests {
		slots <- struct{}{}
		all.Add(1)
		go func() {
			defer all.Done()
			defer func() { <-slots }()
			start := time.Now()
			status, bytes, sum, err := one(session, p)
			if err != nil {
				failed.Add(1)
			}
			ms := float64(time.Since(start).Microseconds()) / 1000
			say("result", fields{
				"n": n, "status": status, "bytes": bytes, "sha256": sum, "ms": ms, "error": text(err),
			})
		}()
	}
	all.Wait()
	return int(failed.Load())
}

// one sends one request over a stream of its own and reads the answer to its end.
func one(session *yamux.Session, p plan) (status int, n int64, sum string, err error) {
	stream, err := session.Open()
	if err != nil {
		return 0, 0, "", err
	}
	defer stream.Close()
	hash := sha256.New()
	body := io.LimitReader(&pattern{}, p.size)
	if p.raw {
		sent := make(chan error, 1)
		go func() {
			_, err := io.Copy(stream, body)
			// Closing a stream of yamux ends its own direction only.
			_ = stream.Close()
			sent <- err
		}()
		n, err = io.Copy(hash, stream)
		if writeErr := <-sent; err == nil {
			err = writeErr
		}
		return 0, n, hex.EncodeToString(hash.Sum(nil)), err
	}
	request, err := http.NewRequest(p.method, "http://peer"+p.target, nil)
	if err != nil {
		return 0, 0, "", err
	}
	request.Close = true
	if p.size > 0 || p.chunked {
		request.Body = io.NopCloser(body)
		request.ContentLength = p.size
		if p.chunked {
			request.ContentLength = -1
		}
	}
	sent := make(chan error, 1)
	go func() { sent <- request.Write(stream) }()
	response, err := http.ReadResponse(bufio.NewReader(stream), request)
	if err != nil {
		return 0, 0, "", err
	}
	n, err = io.Copy(hash, response.Body)
	if writeErr := <-sent; err == nil {
		err = writeErr
	}
	return response.StatusCode, n, hex.EncodeToString(hash.Sum(nil)), err
}
