package main

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The two modes as processes, against each other: what both get wrong in the same way is not found here, but
// the tool itself is known to work before it judges anything.
func run(t *testing.T, listenArgs, serveArgs []string) []fields {
	t.Helper()
	peer := filepath.Join(t.TempDir(), "peer")
	build := exec.Command("go", "build", "-o", peer, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	server := exec.Command(peer, append([]string{"serve"}, serveArgs...)...)
	server.Stderr = os.Stderr
	pipe, err := server.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = server.Process.Kill() }()
	lines := bufio.NewScanner(pipe)
	next := func() fields {
		if !lines.Scan() {
			return nil
		}
		var f fields
		if err := json.Unmarshal(lines.Bytes(), &f); err != nil {
			t.Fatalf("%s: %v", lines.Text(), err)
		}
		return f
	}
	first := next()
	agent := exec.Command(peer, append([]string{"listen", "-url", "http://" + first["addr"].(string)}, listenArgs...)...)
	said, err := agent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := agent.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = agent.Process.Kill(); _ = agent.Wait() }()
	var events []fields
	for f := next(); f != nil; f = next() {
		events = append(events, f)
	}
	if err := server.Wait(); err != nil {
		t.Errorf("serve: %v", err)
	}
	// The server closes first, so the agent loses its tunnel.
	all, _ := io.ReadAll(said)
	if !strings.Contains(string(all), `"connected"`) || !strings.Contains(string(all), `"lost"`) {
		t.Errorf("listen said %s", all)
	}
	return events
}

func sumOf(n int64) string {
	hash := sha256.New()
	_, _ = io.CopyN(hash, &pattern{}, n)
	return hex.EncodeToString(hash.Sum(nil))
}

func check(t *testing.T, events []fields, results int, status float64, size int64) {
	t.Helper()
	seen := 0
	for _, f := range events {
		if f["event"] != "result" {
			continue
		}
		seen++
		if f["status"] != status || f["bytes"] != float64(size) || f["sha256"] != sumOf(size) || f["error"] != "" {
			t.Errorf("%v", f)
		}
	}
	if seen != results {
		t.Errorf("%d results instead of %d: %v", seen, results, events)
	}
	if last := events[len(events)-1]; last["event"] != "closed" {
		t.Errorf("it ended with %v", last)
	}
}

func TestBodies(t *testing.T) {
	events := run(t, nil, []string{"-requests", "20", "-concurrency", "8", "-target", "/bytes?n=600000"})
	check(t, events, 20, 200, 600000)
}

func TestEcho(t *testing.T) {
	for _, more := range [][]string{nil, {"-chunked"}} {
		args := append([]string{"-method", "POST", "-target", "/echo", "-size", "400000", "-requests", "3"}, more...)
		check(t, run(t, nil, args), 3, 200, 400000)
	}
}

func TestRaw(t *testing.T) {
	events := run(t, []string{"-raw"}, []string{"-raw", "-size", "1000000", "-requests", "4", "-concurrency", "4"})
	check(t, events, 4, 0, 1000000)
}

func TestStatusAndGoAway(t *testing.T) {
	for _, code := range []string{"0", "2"} {
		events := run(t, nil, []string{"-target", "/status?code=418", "-goaway", code})
		check(t, events, 1, 418, 0)
	}
}
