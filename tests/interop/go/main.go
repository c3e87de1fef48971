// Command peer speaks the protocols of Piko with other people's code: gorilla/websocket for RFC 6455 and
// hashicorp/yamux for the mux. Interoperability tests hold our server and our agent against it.
//
// Build:
//
//	CGO_ENABLED=0 go build -o peer .
//
// Without cgo, because nothing needs it, and because cgo's probes of the C compiler write to /dev/null, which
// some linkers replace by a file when they run as root.
//
// As an agent (mux client, accepts streams; stands against our server):
//
//	peer listen -url http://127.0.0.1:8001 -endpoint e1 [-token T] [-tenant T] [-raw] [-exit-after 5s]
//
// opens the WebSocket at <url>/piko/v1/upstream/<endpoint> and serves each stream: HTTP/1.1 with the routes
//
//	/hello            "hello\n"
//	/echo             the request's body, framed as it came
//	/bytes?n=N        N bytes, byte i being i mod 251
//	/headers          {"method":..., "target":..., "host":..., "header":{...}}
//	/slow?ms=N        "slow\n" after N milliseconds
//	/status?code=N    this status, no body
//
// or, with -raw, sends every byte back until the FIN and then its own FIN.
// It runs until SIGINT or SIGTERM (go-away 0, wait for open requests up to 5 s, close), until the tunnel is
// lost, or until -exit-after has passed (as SIGTERM).
//
// As a server (mux server, opens streams; stands against our agent):
//
//	peer serve [-addr 127.0.0.1:0] [-requests 1] [-concurrency 1] [-method GET] [-target /hello]
//	           [-size 0] [-chunked] [-raw] [-goaway -1] [-stay 0s] [-timeout 30s]
//
// listens, takes the first tunnel on /piko/v1/upstream/<endpoint>, sends -requests requests over it, each on
// a stream of its own with "Connection: close", at most -concurrency at a time. -size is the length of the
// request's body (byte i is i mod 251), -chunked sends it without a length. With -raw the body alone is
// written, the stream half closed, and what comes back is read to the end. Afterwards it waits for -stay,
// sends a go-away with the code -goaway (0, 1, 2; only when given), and closes. -timeout bounds the whole run.
//
// As a forwarder (stands against our server's TCP path):
//
//	peer dial -url http://127.0.0.1:8000 -endpoint e1 [-token T] [-requests 1] [-concurrency 1] [-size 0]
//
// opens WebSockets at <url>/_piko/v1/tcp/<endpoint>; each sends -size bytes, reads as many and closes.
//
// As a reader and writer of gossip messages (stands against our codec):
//
//	peer messages -in FILE
//
// takes lines of a kind (digest, delta, join, leave, join_reply, leave_reply) and hex digits, decodes each with
// ugorji/go/codec into the structs of Go Piko, and encodes what it understood.
//
// As a member of a gossip cluster (stands against our gossip node):
//
//	peer gossip [-id go] [-addr 127.0.0.1:0] [-advertise host] [-join host:port] [-set a=1,b=2] [-many 0]
//	            [-churn 0] [-proxy]
//
// keeps the pace and the rules of Go Piko, on UDP and TCP, until SIGINT or SIGTERM, on which it leaves. With -proxy
// it serves a proxy port: requests for its own endpoints are answered with "go: " and the body they came with, others go
// to a node that has theirs, by net/http's reverse proxy.
//
// As the status command of Go Piko (stands against our admin API):
//
//	peer status -url http://127.0.0.1:8002 [-forward id] PATH...
//
// fetches each path, decodes it into the structs of Go Piko and writes it again: "same" says that no byte changed.
//
// All print JSON lines on stdout:
//
//	{"event":"listening","addr":"127.0.0.1:41234"}                      serve: the port is open
//	{"event":"connected","endpoint":"e1"}                               both: the tunnel is up
//	{"event":"refused","status":401,"body":"...","error":"..."}         listen: the upgrade was refused
//	{"event":"result","n":0,"status":200,"bytes":6,"sha256":"...","ms":1.5,"error":""}   serve, dial: one request
//	{"event":"done","ok":10,"failed":0}                                 serve, dial: all requests are answered
//	{"event":"lost","error":"..."}                                      both: the tunnel ended by itself
//	{"event":"closed"}                                                  all: ended on purpose
//	{"event":"message","kind":"digest","node":"n1","sections":0,"entries":0,"digest":3,"hex":"..."}   messages
//	{"event":"node","id":"n1","addr":"127.0.0.1:8003"}                  gossip: a node is known
//	{"event":"key","id":"n1","entry":{"key":"a","value":"1","version":3,"deleted":false}}   gossip: its key
//	{"event":"liveness","id":"n1","unreachable":true}                   gossip: what its silence says
//	{"event":"left","id":"n1"}                                          gossip: it leaves
//	{"event":"expired","id":"n1"}                                       gossip: it is forgotten
//	{"event":"compacted","deleted":100}                                 gossip: its own keys have new versions
//	{"event":"request","endpoint":"e1","forwarded":true,"header":{...}} gossip: at its proxy port
//	{"event":"request","target":"/slow?ms=5"}                           listen: /slow is asked for
//	{"event":"status","path":"/status/cluster/nodes","same":true,"again":"[...]","error":""}   status: one path
//	{"event":"bad","error":"..."}                                       gossip: a message that Go cannot read
//
// Exit status: 0 when it ended on purpose and all results were without an error, 1 otherwise, 2 for usage.
// The mux runs with the settings of Go Piko: keep-alive every 30 s, window 256 KiB, accept backlog 256.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/hashicorp/yamux"
)

const upstreamPath = "/piko/v1/upstream/"

func main() {
	code := 2
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "dial":
			code = dial(os.Args[2:])
		case "gossip":
			code = gossip(os.Args[2:])
		case "listen":
			code = listen(os.Args[2:])
		case "messages":
			code = messages(os.Args[2:])
		case "serve":
			code = serve(os.Args[2:])
		case "status":
			code = status(os.Args[2:])
		}
	}
	if code == 2 {
		fmt.Fprintln(os.Stderr, "usage: peer dial|gossip|listen|messages|serve|status [flags]; see the head of main.go")
	}
	os.Exit(code)
}

// muxConfig is what Go Piko uses; the values are yamux's own defaults, written out because they are part of
// what is tested.
func muxConfig() *yamux.Config {
	config := yamux.DefaultConfig()
	config.AcceptBacklog = 256
	config.EnableKeepAlive = true
	config.KeepAliveInterval = 30 * time.Second
	config.ConnectionWriteTimeout = 10 * time.Second
	config.MaxStreamWindowSize = 256 * 1024
	config.StreamOpenTimeout = 75 * time.Second
	config.StreamCloseTimeout = 5 * time.Minute
	config.LogOutput = os.Stderr
	return config
}

var (
	outMu sync.Mutex
	out   io.Writer = os.Stdout
)

type fields map[string]any

// say prints one JSON line. Results come from many goroutines.
func say(event string, f fields) {
	if f == nil {
		f = fields{}
	}
	f["event"] = event
	line, err := json.Marshal(f)
	if err != nil {
		panic(err)
	}
	outMu.Lock()
	defer outMu.Unlock()
	fmt.Fprintf(out, "%s\n", line)
}

// text is the message of an error, empty for none.
func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
