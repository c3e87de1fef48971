package main

import (
	"crypto/sha256"
	"encoding/hex"
	"flag"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/gorilla/websocket"
)

const tcpPath = "/_piko/v1/tcp/"

// dial plays a forwarder: connections to a TCP endpoint through the proxy port, as Go Piko's dialer opens them. Each
// sends size bytes, reads as many, and closes, since it knows no half close.
func dial(args []string) int {
	flags := flag.NewFlagSet("dial", flag.ContinueOnError)
	base := flags.String("url", "http://127.0.0.1:8000", "the server's proxy port")
	endpoint := flags.String("endpoint", "e1", "endpoint id")
	token := flags.String("token", "", "bearer token")
	requests := flags.Int("requests", 1, "connections to open")
	concurrency := flags.Int("concurrency", 1, "connections at the same time")
	size := flags.Int64("size", 0, "bytes to send")
	if flags.Parse(args) != nil || flags.NArg() > 0 || *requests < 0 || *concurrency < 1 {
		return 2
	}
	target, err := url.Parse(*base)
	if err != nil {
		return 2
	}
	target.Scheme = strings.Replace(target.Scheme, "http", "ws", 1)
	target = target.JoinPath(tcpPath, url.PathEscape(*endpoint))
	header := http.Header{}
	if *token != "" {
		header.Set("Authorization", "Bearer "+*token)
	}
	var failed atomic.Int64
	var all sync.WaitGroup
	slots := make(chan struct{}, *concurrency)
	for n := range *requests {
		slots <- struct{}{}
		all.Add(1)
		go func() {
			defer all.Done()
			defer func() { <-slots }()
			status, bytes, sum, err := dialOne(target.String(), header, *size)
			if err != nil {
				failed.Add(1)
			}
			say("result", fields{"n": n, "status": status, "bytes": bytes, "sha256": sum, "error": text(err)})
		}()
	}
	all.Wait()
	say("done", fields{"ok": int64(*requests) - failed.Load(), "failed": failed.Load()})
	if failed.Load() > 0 {
		return 1
	}
	return 0
}

// dialOne is one connection. The status is that of the upgrade.
func dialOne(target string, header http.Header, size int64) (status int, n int64, sum string, err error) {
	dialer := websocket.Dialer{HandshakeTimeout: patience}
	ws, response, err := dialer.Dial(target, header)
	if response != nil {
		status = response.StatusCode
	}
	if err != nil {
		return status, 0, "", err
	}
	stream := &conn{ws: ws}
	defer stream.Close()
	sent := make(chan error, 1)
	go func() {
		_, err := io.Copy(stream, io.LimitReader(&pattern{}, size))
		sent <- err
	}()
	hash := sha256.New()
	n, err = io.CopyN(hash, stream, size)
	if writeErr := <-sent; err == nil {
		err = writeErr
	}
	return status, n, hex.EncodeToString(hash.Sum(nil)), err
}
