package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// What Go's status command decodes (wire protocol, section 8). What such a structure cannot hold, or holds in another
// form, differs when it is written again.
type nodeMetadata struct {
	ID        string `json:"id"`
	Status    string `json:"status"`
	ProxyAddr string `json:"proxy_addr"`
	AdminAddr string `json:"admin_addr"`
	Endpoints int    `json:"endpoints"`
	Upstreams int    `json:"upstreams"`
}

type nodeState struct {
	ID        string         `json:"id"`
	Status    string         `json:"status"`
	ProxyAddr string         `json:"proxy_addr"`
	AdminAddr string         `json:"admin_addr"`
	Endpoints map[string]int `json:"endpoints"`
}

type gossipMetadata struct {
	ID          string    `json:"id"`
	Addr        string    `json:"addr"`
	Version     uint64    `json:"version"`
	Left        bool      `json:"left"`
	Unreachable bool      `json:"unreachable"`
	Expiry      time.Time `json:"expiry"`
}

type statusEntry struct {
	Key      string `json:"key"`
	Value    string `json:"value"`
	Version  uint64 `json:"version"`
	Internal bool   `json:"internal"`
	Deleted  bool   `json:"deleted"`
}

// The list has no name of its own in Go, whose encoder takes that of the field.
type gossipState struct {
	gossipMetadata
	Entries []statusEntry
}

// shape is where the answer of a path is decoded to.
func shape(path string) any {
	switch {
	case path == "/status/upstream/endpoints":
		return &map[string]int{}
	case path == "/status/cluster/nodes":
		return &[]nodeMetadata{}
	case strings.HasPrefix(path, "/status/cluster/nodes/"):
		return &nodeState{}
	case path == "/status/gossip/nodes":
		return &[]gossipMetadata{}
	case strings.HasPrefix(path, "/status/gossip/nodes/"):
		return &gossipState{}
	}
	return nil
}

func status(args []string) int {
	flags := flag.NewFlagSet("status", flag.ContinueOnError)
	base := flags.String("url", "", "URL of an admin port")
	forward := flags.String("forward", "", "id of the node that is meant")
	if flags.Parse(args) != nil || *base == "" || flags.NArg() == 0 {
		return 2
	}
	code := 0
	for _, path := range flags.Args() {
		same, again, err := ask(*base, path, *forward)
		say("status", fields{"path": path, "same": same, "again": again, "error": text(err)})
		if err != nil || !same {
			code = 1
		}
	}
	say("done", nil)
	return code
}

// ask decodes an answer and writes it again: both must be the same bytes.
func ask(base, path, forward string) (same bool, again string, err error) {
	client := http.Client{Timeout: 15 * time.Second}
	target := base + path
	if forward != "" {
		target += "?forward=" + url.QueryEscape(forward)
	}
	response, err := client.Get(target)
	if err != nil {
		return false, "", err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return false, "", fmt.Errorf("bad status: %d", response.StatusCode)
	}
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return false, "", err
	}
	value := shape(path)
	if value == nil {
		return false, "", fmt.Errorf("no such path: %s", path)
	}
	if err := json.Unmarshal(body, value); err != nil {
		return false, "", err
	}
	written, err := json.Marshal(value)
	return bytes.Equal(body, written), string(written), err
}
