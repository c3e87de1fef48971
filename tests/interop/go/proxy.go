package main

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"strconv"
	"strings"
)

// serveProxy opens the proxy port of a member: what it has itself it answers, what others have it forwards to them once, as
// Go Piko does, with net/http's reverse proxy and a connection of its own for each request.
func (m *member) serveProxy() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	forward := &httputil.ReverseProxy{
		Rewrite:      func(request *httputil.ProxyRequest) { m.rewrite(request) },
		Transport:    &http.Transport{DisableKeepAlives: true},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { fail(w, "upstream unreachable") },
	}
	handler := func(w http.ResponseWriter, request *http.Request) {
		endpoint := endpointOf(request)
		forwarded := request.Header.Get("x-piko-forward") == "true"
		say("request", fields{"endpoint": endpoint, "forwarded": forwarded, "header": request.Header, "host": request.Host})
		switch {
		case endpoint == "":
			http.Error(w, `{"error":"missing endpoint id"}`, http.StatusBadRequest)
		case m.listeners(m.id, endpoint) > 0:
			// All of it first: net/http reads no further once it has begun to answer.
			if body, err := io.ReadAll(request.Body); err == nil {
				_, _ = w.Write(append([]byte("go: "), body...))
			}
		case !forwarded && m.target(endpoint) != "":
			// All of it first here too: net/http closes the body once it begins to answer, and its client, which looks behind
			// the body's end for more, takes that for a failure and cuts the answer. A fast node makes that likely.
			body, err := io.ReadAll(request.Body)
			if err != nil {
				return
			}
			if len(body) > 0 {
				request.Body = io.NopCloser(bytes.NewReader(body))
			}
			forward.ServeHTTP(w, request)
		default:
			fail(w, "no available upstreams")
		}
	}
	go func() { _ = http.Serve(listener, http.HandlerFunc(handler)) }()
	return listener.Addr().String(), nil
}

func fail(w http.ResponseWriter, why string) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(http.StatusBadGateway)
	_, _ = io.WriteString(w, `{"error":"`+why+`"}`+"\n")
}

func endpointOf(request *http.Request) string {
	if endpoint := request.Header.Get("x-piko-endpoint"); endpoint != "" {
		return endpoint
	}
	host := request.Host
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	first, _, dotted := strings.Cut(host, ".")
	if net.ParseIP(host) != nil || !dotted {
		return ""
	}
	return first
}

func (m *member) rewrite(request *httputil.ProxyRequest) {
	request.Out.URL.Scheme = "http"
	request.Out.URL.Host = m.target(endpointOf(request.In))
	request.Out.Header["X-Forwarded-For"] = request.In.Header["X-Forwarded-For"]
	request.SetXForwarded()
	request.Out.Header.Set("X-Piko-Forward", "true")
}

// listeners is what a node says of an endpoint.
func (m *member) listeners(id, endpoint string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	node := m.nodes[id]
	if node == nil {
		return 0
	}
	entry := node.entries["endpoint:"+endpoint]
	count, err := strconv.Atoi(entry.Value)
	if err != nil || entry.Deleted {
		return 0
	}
	return count
}

// target is the proxy port of an active node that has the endpoint, any of them.
func (m *member) target(endpoint string) string {
	m.mu.Lock()
	ids := make([]string, 0, len(m.nodes))
	for id, node := range m.nodes {
		if id != m.id && !node.left && !node.silent {
			ids = append(ids, id)
		}
	}
	m.mu.Unlock()
	for _, id := range ids {
		if m.listeners(id, endpoint) > 0 {
			m.mu.Lock()
			defer m.mu.Unlock()
			return m.nodes[id].entries["proxy_addr"].Value
		}
	}
	return ""
}
