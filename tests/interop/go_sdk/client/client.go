// Package client has the names and types of the Go SDK's public API that docs/go-sdk.md uses, and does nothing:
// the snippets of that page are compiled against it. That programs with the SDK itself reach Rust servers is
// shown by the bytes on the wire, see the tests of interop/go.
package client

import (
	"context"
	"crypto/tls"
	"net"
	"net/url"
	"time"
)

// Upstream says where and how to listen.
type Upstream struct {
	URL                 *url.URL
	Token               string
	TenantID            string
	TLSConfig           *tls.Config
	ProxyURL            *url.URL
	MinReconnectBackoff time.Duration
	MaxReconnectBackoff time.Duration
}

// Listener is a net.Listener of an endpoint.
type Listener interface {
	net.Listener
	Shutdown() error
	EndpointID() string
}

// Forwarder forwards connections of an endpoint.
type Forwarder struct{}

// Dialer says where and how to dial.
type Dialer struct {
	URL       *url.URL
	Token     string
	TLSConfig *tls.Config
}

// Listen listens on an endpoint.
func (u *Upstream) Listen(ctx context.Context, endpointID string) (Listener, error) { return nil, nil }

// ListenAndForward forwards the connections of an endpoint to addr.
func (u *Upstream) ListenAndForward(ctx context.Context, endpointID, addr string) (*Forwarder, error) {
	return nil, nil
}

// Wait waits for the end.
func (f *Forwarder) Wait() error { return nil }

// Close ends it.
func (f *Forwarder) Close() error { return nil }

// Dial connects to an endpoint.
func (d *Dialer) Dial(ctx context.Context, endpointID string) (net.Conn, error) { return nil, nil }
