package main

import (
	"context"
	"encoding/json"
	"flag"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/gorilla/websocket"
	"github.com/hashicorp/yamux"
)

// listen plays an agent.
func listen(args []string) int {
	flags := flag.NewFlagSet("listen", flag.ContinueOnError)
	base := flags.String("url", "http://127.0.0.1:8001", "the server's upstream port")
	endpoint := flags.String("endpoint", "e1", "endpoint id")
	token := flags.String("token", "", "bearer token")
	tenant := flags.String("tenant", "", "tenant id")
	raw := flags.Bool("raw", false, "echo bytes instead of serving HTTP")
	exitAfter := flags.Duration("exit-after", 0, "end as on SIGTERM after this time")
	if flags.Parse(args) != nil || flags.NArg() > 0 {
		return 2
	}
	target, err := url.Parse(*base)
	if err != nil {
		return 2
	}
	// Dial accepts http and https as well as ws and wss only since later releases.
	target.Scheme = strings.Replace(target.Scheme, "http", "ws", 1)
	target = target.JoinPath(upstreamPath, url.PathEscape(*endpoint))

	header := http.Header{}
	if *token != "" {
		header.Set("Authorization", "Bearer "+*token)
	}
	if *tenant != "" {
		header.Set("X-Piko-Tenant-Id", *tenant)
	}
	dialer := websocket.Dialer{HandshakeTimeout: patience}
	ws, response, err := dialer.Dial(target.String(), header)
	if err != nil {
		f := fields{"error": err.Error(), "status": 0, "body": ""}
		if response != nil {
			body, _ := io.ReadAll(response.Body)
			f["status"], f["body"] = response.StatusCode, string(body)
		}
		say("refused", f)
		return 1
	}
	session, err := yamux.Client(&conn{ws: ws}, muxConfig())
	if err != nil {
		say("refused", fields{"error": err.Error(), "status": 0, "body": ""})
		return 1
	}
	say("connected", fields{"endpoint": *endpoint})

	ended := make(chan error, 1)
	server := &http.Server{Handler: routes()}
	if *raw {
		go func() { ended <- echoAll(session) }()
	} else {
		go func() { ended <- server.Serve(&acceptor{session}) }()
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGINT, syscall.SIGTERM)
	var after <-chan time.Time
	if *exitAfter > 0 {
		after = time.After(*exitAfter)
	}
	select {
	case err := <-ended:
		say("lost", fields{"error": text(err)})
		return 1
	case <-stop:
	case <-after:
	}
	// No new streams please; then answer what is open, then close.
	_ = session.GoAway()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_ = waitIdle(ctx, session)
	_ = session.Close()
	say("closed", nil)
	return 0
}

// acceptor keeps http.Server from closing the session when it shuts its listener.
type acceptor struct{ session *yamux.Session }

func (a *acceptor) Accept() (net.Conn, error) { return a.session.Accept() }
func (a *acceptor) Addr() net.Addr            { return a.session.Addr() }
func (a *acceptor) Close() error              { return nil }

// waitIdle waits until no stream is open.
func waitIdle(ctx context.Context, session *yamux.Session) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for session.NumStreams() > 0 {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
	return nil
}

// echoAll sends every stream's bytes back.
func echoAll(session *yamux.Session) error {
	for {
		stream, err := session.Accept()
		if err != nil {
			return err
		}
		go func() {
			_, _ = io.Copy(stream, stream)
			_ = stream.Close()
		}()
	}
}

func routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/hello", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello\n") })
	mux.HandleFunc("/echo", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		if r.ContentLength >= 0 {
			w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		} else if flusher, ok := w.(http.Flusher); ok {
			flusher.Flush()
		}
		_, _ = w.Write(body)
	})
	mux.HandleFunc("/bytes", func(w http.ResponseWriter, r *http.Request) {
		n := number(r, "n")
		w.Header().Set("Content-Length", strconv.Itoa(n))
		_, _ = io.CopyN(w, &pattern{}, int64(n))
	})
	mux.HandleFunc("/headers", func(w http.ResponseWriter, r *http.Request) {
		_ = json.NewEncoder(w).Encode(fields{
			"method": r.Method, "target": r.RequestURI, "host": r.Host, "header": r.Header,
		})
	})
	mux.HandleFunc("/slow", func(w http.ResponseWriter, r *http.Request) {
		say("request", fields{"target": r.URL.RequestURI()})
		select {
		case <-time.After(time.Duration(number(r, "ms")) * time.Millisecond):
			_, _ = io.WriteString(w, "slow\n")
		case <-r.Context().Done():
		}
	})
	mux.HandleFunc("/status", func(w http.ResponseWriter, r *http.Request) {
		if code := number(r, "code"); code >= 200 && code <= 999 {
			w.WriteHeader(code)
		}
	})
	return mux
}

// number is a query parameter, 0 when it is none.
func number(r *http.Request, name string) int {
	n, err := strconv.Atoi(r.URL.Query().Get(name))
	if err != nil || n < 0 {
		return 0
	}
	return n
}

// pattern is an endless body whose byte i is i mod 251; a prime, so that no power of two hides a shift.
type pattern struct{ at int64 }

func (p *pattern) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = byte((p.at + int64(i)) % 251)
	}
	p.at += int64(len(b))
	return len(b), nil
}
