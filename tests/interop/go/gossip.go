package main

import (
	"flag"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/signal"
	"sort"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/ugorji/go/codec"
)

// member is one node of a gossip cluster with the pace and the rules of Go Piko, written from the description
// of its protocol: it never pushes, answers every digest, and believes everybody.
type member struct {
	mu    sync.Mutex
	id    string
	addr  string
	nodes map[string]*remote
	// Unanswered rounds are nobody's business here; silence is counted per node.
	heard   map[string]*window
	udp     *net.UDPConn
	packets int
}

type remote struct {
	addr    string
	version uint64
	left    bool
	silent  bool
	entries map[string]gossipEntry
	// Zero while it is alive.
	expiry time.Time
}

// window is the failure detector: the mean of the last 50 intervals.
type window struct {
	intervals []float64
	last      time.Time
}

const (
	interval  = 100 * time.Millisecond
	packetMax = 1400
	// expiry is how long a node is remembered that left or is silent, as in Go Piko.
	expiry = 60 * time.Second
	// compactAt is the number of deleted keys behind which a node tells everything anew.
	compactAt = 100
)

func (w *window) report(now time.Time) {
	gap := 2 * interval.Seconds()
	if !w.last.IsZero() {
		gap = now.Sub(w.last).Seconds()
	}
	w.intervals = append(w.intervals, gap)
	if len(w.intervals) > 50 {
		w.intervals = w.intervals[1:]
	}
	w.last = now
}

func (w *window) phi(now time.Time) float64 {
	if w.last.IsZero() {
		w.report(now)
	}
	sum := 0.0
	for _, gap := range w.intervals {
		sum += gap
	}
	return now.Sub(w.last).Seconds() / (sum / float64(len(w.intervals)))
}

func (m *member) set(key, value string, internal, deleted bool) {
	own := m.nodes[m.id]
	own.version++
	own.entries[key] = gossipEntry{key, value, own.version, internal, deleted}
}

// unset deletes a key; what is not there stays so.
func (m *member) unset(key string) {
	if entry, ok := m.nodes[m.id].entries[key]; ok && !entry.Deleted {
		m.set(key, "", false, true)
	}
}

// compact drops the own deleted keys once there are many, and gives all others new versions.
func (m *member) compact() {
	own := m.nodes[m.id]
	var kept []gossipEntry
	deleted := 0
	for _, entry := range own.after(0) {
		if entry.Deleted {
			deleted++
		} else if entry.Key != "_internal:compact" {
			kept = append(kept, entry)
		}
	}
	if deleted < compactAt {
		return
	}
	until := own.version
	own.entries = map[string]gossipEntry{}
	for _, entry := range kept {
		m.set(entry.Key, entry.Value, entry.Internal, false)
	}
	m.set("_internal:compact", strconv.FormatUint(until, 10), true, false)
	say("compacted", fields{"deleted": deleted})
}

// expire forgets who left or was silent for long enough; others may tell of them again.
func (m *member) expire(now time.Time) {
	for id, node := range m.nodes {
		if !node.expiry.IsZero() && now.After(node.expiry) {
			delete(m.nodes, id)
			delete(m.heard, id)
			say("expired", fields{"id": id})
		}
	}
}

// after gives the entries of a node above a version, by version.
func (r *remote) after(version uint64) []gossipEntry {
	var entries []gossipEntry
	for _, entry := range r.entries {
		if entry.Version > version {
			entries = append(entries, entry)
		}
	}
	sort.Slice(entries, func(i, j int) bool { return entries[i].Version < entries[j].Version })
	return entries
}

func (m *member) digest() []digestEntry {
	var digest []digestEntry
	for id, node := range m.nodes {
		digest = append(digest, digestEntry{id, node.addr, node.version, node.left})
	}
	rand.Shuffle(len(digest), func(i, j int) { digest[i], digest[j] = digest[j], digest[i] })
	return digest
}

func (m *member) applyDigest(digest []digestEntry) {
	for _, entry := range digest {
		if m.nodes[entry.ID] == nil && !entry.Left {
			m.nodes[entry.ID] = &remote{addr: entry.Addr, entries: map[string]gossipEntry{}}
			say("node", fields{"id": entry.ID, "addr": entry.Addr})
		}
	}
}

func (m *member) applyDelta(delta []deltaElement) {
	for _, element := range delta {
		if element.ID == m.id {
			continue
		}
		node := m.nodes[element.ID]
		if node == nil {
			node = &remote{addr: element.Addr, entries: map[string]gossipEntry{}}
			m.nodes[element.ID] = node
			say("node", fields{"id": element.ID, "addr": element.Addr})
		}
		for _, entry := range element.Entries {
			if entry.Version <= node.version {
				continue
			}
			node.version = entry.Version
			node.entries[entry.Key] = entry
			switch {
			case entry.Internal && entry.Key == "_internal:left":
				node.left = true
				node.expiry = time.Now().Add(expiry)
				say("left", fields{"id": element.ID})
			case entry.Internal && entry.Key == "_internal:compact":
				until, err := strconv.ParseUint(entry.Value, 10, 64)
				if err != nil {
					break
				}
				for key, old := range node.entries {
					if old.Version <= until {
						delete(node.entries, key)
						if !old.Internal && !old.Deleted {
							old.Deleted = true
							say("key", fields{"id": element.ID, "entry": old})
						}
					}
				}
			case !entry.Internal:
				say("key", fields{"id": element.ID, "entry": entry})
			}
		}
	}
}

func (m *member) sendDigest(to string, request bool) {
	data := put([]byte{kindDigest, 0}, digestHeader{m.id, m.addr, request})
	for _, entry := range m.digest() {
		next := put(data, entry)
		if len(next) > packetMax {
			break
		}
		data = next
	}
	m.send(to, data)
}

func (m *member) sendDelta(to string, digest []digestEntry) {
	data := put([]byte{kindDelta, 0}, deltaHeader{m.id, m.addr, 0})
	defer func() { m.send(to, data) }()
	for _, known := range digest {
		node := m.nodes[known.ID]
		if node == nil {
			continue
		}
		entries := node.after(known.Version)
		if len(entries) == 0 {
			continue
		}
		next := put(data, deltaHeader{known.ID, node.addr, len(entries)})
		if len(next) > packetMax {
			return
		}
		data = next
		for _, entry := range entries {
			next := put(data, entry)
			if len(next) > packetMax {
				return
			}
			data = next
		}
	}
}

func (m *member) send(to string, data []byte) {
	if addr, err := net.ResolveUDPAddr("udp", to); err == nil {
		_, _ = m.udp.WriteToUDP(data, addr)
	}
}

func (m *member) handlePacket(data []byte) {
	if len(data) < 2 || data[1] != 0 {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.packets++
	decoder := codec.NewDecoderBytes(data[2:], &handle)
	switch data[0] {
	case kindDigest:
		var header digestHeader
		if err := decoder.Decode(&header); err != nil {
			say("bad", fields{"error": err.Error()})
			return
		}
		digest, err := readDigest(decoder)
		if err != nil {
			say("bad", fields{"error": err.Error()})
			return
		}
		m.applyDigest(digest)
		m.sendDelta(header.Addr, digest)
		if header.Request {
			m.sendDigest(header.Addr, false)
		}
	case kindDelta:
		var header deltaHeader
		if err := decoder.Decode(&header); err != nil {
			say("bad", fields{"error": err.Error()})
			return
		}
		if m.heard[header.NodeID] == nil {
			m.heard[header.NodeID] = &window{}
		}
		m.heard[header.NodeID].report(time.Now())
		delta, err := readDelta(decoder)
		if err != nil {
			say("bad", fields{"error": err.Error()})
			return
		}
		m.applyDelta(delta)
	default:
		say("bad", fields{"error": "unknown type"})
	}
}

// round is what happens every interval.
func (m *member) round() {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	var live, dead []string
	for id, node := range m.nodes {
		if id == m.id || node.left {
			continue
		}
		if m.heard[id] == nil {
			m.heard[id] = &window{}
		}
		silent := m.heard[id].phi(now) > 20
		if silent != node.silent {
			node.silent = silent
			node.expiry = time.Time{}
			if silent {
				node.expiry = now.Add(expiry)
			}
			say("liveness", fields{"id": id, "unreachable": silent})
		}
		if silent {
			dead = append(dead, node.addr)
		} else {
			live = append(live, node.addr)
		}
	}
	for _, group := range [][]string{live, dead} {
		if len(group) > 0 {
			m.sendDigest(group[rand.IntN(len(group))], true)
		}
	}
}

// serve answers one stream.
func (m *member) serve(conn net.Conn) {
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	prefix := make([]byte, 2)
	if _, err := io.ReadFull(conn, prefix); err != nil || prefix[1] != 0 {
		return
	}
	decoder := codec.NewDecoder(conn, &handle)
	var header gossipHeader
	var delta []deltaElement
	var digest []digestEntry
	if decoder.Decode(&header) != nil || decoder.Decode(&delta) != nil {
		say("bad", fields{"error": "stream"})
		return
	}
	if prefix[0] == kindJoin && decoder.Decode(&digest) != nil {
		say("bad", fields{"error": "stream"})
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.applyDelta(delta)
	if prefix[0] == kindLeave {
		_, _ = conn.Write(put(nil, gossipHeader{m.id, m.addr}))
		return
	}
	m.applyDigest(digest)
	known := map[string]uint64{}
	for _, entry := range digest {
		known[entry.ID] = entry.Version
	}
	var answer []deltaElement
	for id, node := range m.nodes {
		version, listed := known[id]
		if entries := node.after(version); len(entries) > 0 || !listed {
			answer = append(answer, deltaElement{id, node.addr, entries})
		}
	}
	_, _ = conn.Write(put(nil, gossipHeader{m.id, m.addr}, answer))
}

// exchange opens a stream for a join or a leave.
func (m *member) exchange(kind byte, to string) error {
	conn, err := net.DialTimeout("tcp", to, 10*time.Second)
	if err != nil {
		return err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	m.mu.Lock()
	own := m.nodes[m.id]
	delta := []deltaElement{{m.id, m.addr, own.after(0)}}
	data := put([]byte{kind, 0}, gossipHeader{m.id, m.addr}, delta)
	if kind == kindJoin {
		data = put(data, []digestEntry{{m.id, m.addr, own.version, false}})
	}
	m.mu.Unlock()
	if _, err := conn.Write(data); err != nil {
		return err
	}
	decoder := codec.NewDecoder(conn, &handle)
	var header gossipHeader
	if err := decoder.Decode(&header); err != nil {
		return err
	}
	if kind == kindLeave {
		return nil
	}
	// As Go Piko does it: into the array that still holds what was sent.
	if err := decoder.Decode(&delta); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.applyDelta(delta)
	return nil
}

// gossip plays a member until SIGTERM, then leaves.
func gossip(args []string) int {
	flags := flag.NewFlagSet("gossip", flag.ContinueOnError)
	id := flags.String("id", "go", "node id")
	addr := flags.String("addr", "127.0.0.1:0", "gossip address")
	join := flags.String("join", "", "address of a member")
	keys := flags.String("set", "", "keys, as a=1,b=2")
	many := flags.Int("many", 0, "so many endpoints more, after one second")
	churn := flags.Int("churn", 0, "so many endpoints that come and go, after one second")
	advertise := flags.String("advertise", "", "host that others are told, in place of the address")
	proxied := flags.Bool("proxy", false, "serve a proxy port")
	if flags.Parse(args) != nil || flags.NArg() > 0 {
		return 2
	}
	listener, err := net.Listen("tcp", *addr)
	if err != nil {
		return 1
	}
	udp, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(listener.Addr().(*net.TCPAddr).AddrPort()))
	if err != nil {
		return 1
	}
	told := listener.Addr().String()
	if *advertise != "" {
		told = net.JoinHostPort(*advertise, strconv.Itoa(listener.Addr().(*net.TCPAddr).Port))
	}
	m := &member{id: *id, addr: told, udp: udp, nodes: map[string]*remote{}, heard: map[string]*window{}}
	m.nodes[m.id] = &remote{addr: m.addr, entries: map[string]gossipEntry{}}
	proxyAddr := "127.0.0.1:18000"
	if *proxied {
		if proxyAddr, err = m.serveProxy(); err != nil {
			return 1
		}
	}
	m.set("proxy_addr", proxyAddr, false, false)
	m.set("admin_addr", "127.0.0.1:18002", false, false)
	for _, pair := range strings.Split(*keys, ",") {
		if key, value, ok := strings.Cut(pair, "="); ok {
			m.set(key, value, false, false)
		}
	}
	go func() {
		buffer := make([]byte, packetMax)
		for {
			n, _, err := udp.ReadFromUDP(buffer)
			if err != nil {
				return
			}
			m.handlePacket(buffer[:n])
		}
	}()
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go m.serve(conn)
		}
	}()
	say("listening", fields{"addr": listener.Addr().String(), "proxy": proxyAddr})
	if *join != "" {
		err := m.exchange(kindJoin, *join)
		say("joined", fields{"error": text(err)})
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGINT, syscall.SIGTERM)
	ticker := time.NewTicker(interval)
	later := time.After(time.Second)
	ticks := 0
	for {
		select {
		case <-ticker.C:
			m.round()
			if ticks++; ticks%10 == 0 {
				m.mu.Lock()
				m.compact()
				m.expire(time.Now())
				m.mu.Unlock()
			}
		case <-later:
			m.mu.Lock()
			for n := range *many {
				m.set("endpoint:go-"+strconv.Itoa(n), "1", false, false)
			}
			for n := range *churn {
				m.set("endpoint:churn-"+strconv.Itoa(n), "1", false, false)
				m.unset("endpoint:churn-" + strconv.Itoa(n))
			}
			m.mu.Unlock()
			say("set", fields{"many": *many})
		case <-stop:
			m.mu.Lock()
			m.set("_internal:left", "", true, false)
			var peers []string
			for id, node := range m.nodes {
				if id != m.id && !node.left && !node.silent {
					peers = append(peers, node.addr)
				}
			}
			m.mu.Unlock()
			for _, peer := range peers {
				say("told", fields{"error": text(m.exchange(kindLeave, peer))})
			}
			say("closed", nil)
			return 0
		}
	}
}
