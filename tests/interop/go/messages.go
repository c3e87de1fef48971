package main

import (
	"bufio"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"

	"github.com/ugorji/go/codec"
)

// The messages of gossip as Go's codec sees them. Without options: the old rules for strings.
var handle codec.MsgpackHandle

type gossipHeader struct {
	NodeID string `codec:"node_id"`
	Addr   string `codec:"addr"`
}

type digestHeader struct {
	NodeID  string `codec:"node_id"`
	Addr    string `codec:"addr"`
	Request bool   `codec:"request"`
}

type digestEntry struct {
	ID      string `codec:"id"`
	Addr    string `codec:"addr"`
	Version uint64 `codec:"version"`
	Left    bool   `codec:"left"`
}

type deltaHeader struct {
	NodeID  string `codec:"node_id"`
	Addr    string `codec:"addr"`
	Entries int    `codec:"entries"`
}

type gossipEntry struct {
	Key      string `codec:"key"`
	Value    string `codec:"value"`
	Version  uint64 `codec:"version"`
	Internal bool   `codec:"internal"`
	Deleted  bool   `codec:"deleted"`
}

type deltaElement struct {
	ID      string        `codec:"id"`
	Addr    string        `codec:"addr"`
	Entries []gossipEntry `codec:"entries"`
}

const (
	kindDigest = 1
	kindDelta  = 2
	kindJoin   = 3
	kindLeave  = 4
)

// put appends values one after another.
func put(data []byte, values ...any) []byte {
	var all []byte
	for _, value := range values {
		var one []byte
		if err := codec.NewEncoderBytes(&one, &handle).Encode(value); err != nil {
			panic(err)
		}
		all = append(all, one...)
	}
	return append(data, all...)
}

// readDelta reads the sections of a datagram; the counts in their headers are upper bounds.
func readDelta(decoder *codec.Decoder) ([]deltaElement, error) {
	var delta []deltaElement
	for {
		var header deltaHeader
		if err := decoder.Decode(&header); err != nil {
			return delta, atEnd(err)
		}
		element := deltaElement{ID: header.NodeID, Addr: header.Addr}
		for range header.Entries {
			var entry gossipEntry
			if err := decoder.Decode(&entry); err != nil {
				return append(delta, element), atEnd(err)
			}
			element.Entries = append(element.Entries, entry)
		}
		delta = append(delta, element)
	}
}

func readDigest(decoder *codec.Decoder) ([]digestEntry, error) {
	var digest []digestEntry
	for {
		var entry digestEntry
		if err := decoder.Decode(&entry); err != nil {
			return digest, atEnd(err)
		}
		digest = append(digest, entry)
	}
}

func atEnd(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil
	}
	return err
}

// writeDelta is readDelta's inverse, without a limit.
func writeDelta(data []byte, delta []deltaElement) []byte {
	for _, element := range delta {
		data = put(data, deltaHeader{element.ID, element.Addr, len(element.Entries)})
		for _, entry := range element.Entries {
			data = put(data, entry)
		}
	}
	return data
}

// again decodes one message and encodes what it understood.
func again(kind string, data []byte) (f fields, err error) {
	prefix := data
	if kind != "join_reply" && kind != "leave_reply" {
		if len(data) < 2 {
			return nil, io.ErrUnexpectedEOF
		}
		prefix, data = data[:2:2], data[2:]
	} else {
		prefix = nil
	}
	decoder := codec.NewDecoderBytes(data, &handle)
	f = fields{"kind": kind}
	var out []byte
	out = append(out, prefix...)
	var header gossipHeader
	var delta []deltaElement
	var digest []digestEntry
	switch kind {
	case "digest":
		var header digestHeader
		if err = decoder.Decode(&header); err != nil {
			return nil, err
		}
		if digest, err = readDigest(decoder); err != nil {
			return nil, err
		}
		out = put(out, header)
		for _, entry := range digest {
			out = put(out, entry)
		}
		f["node"] = header.NodeID
	case "delta":
		var header deltaHeader
		if err = decoder.Decode(&header); err != nil {
			return nil, err
		}
		if delta, err = readDelta(decoder); err != nil {
			return nil, err
		}
		out = writeDelta(put(out, header), delta)
		f["node"] = header.NodeID
	case "join":
		if err = errors.Join(decoder.Decode(&header), decoder.Decode(&delta), decoder.Decode(&digest)); err != nil {
			return nil, err
		}
		out = put(out, header, delta, digest)
	case "leave", "join_reply":
		if err = errors.Join(decoder.Decode(&header), decoder.Decode(&delta)); err != nil {
			return nil, err
		}
		out = put(out, header, delta)
	case "leave_reply":
		if err = decoder.Decode(&header); err != nil {
			return nil, err
		}
		out = put(out, header)
	default:
		return nil, fmt.Errorf("no such kind: %q", kind)
	}
	if f["node"] == nil {
		f["node"] = header.NodeID
	}
	entries := 0
	for _, element := range delta {
		entries += len(element.Entries)
	}
	f["sections"], f["entries"], f["digest"] = len(delta), entries, len(digest)
	f["hex"] = hex.EncodeToString(out)
	return f, nil
}

// messages reads gossip messages from a file, one per line: the kind, a space, hex digits.
func messages(args []string) int {
	flags := flag.NewFlagSet("messages", flag.ContinueOnError)
	in := flags.String("in", "", "the file")
	if flags.Parse(args) != nil || flags.NArg() > 0 {
		return 2
	}
	file, err := os.Open(*in)
	if err != nil {
		return 2
	}
	defer file.Close()
	scanner := bufio.NewScanner(file)
	scanner.Buffer(nil, 64<<20)
	failed := 0
	for scanner.Scan() {
		var kind, digits string
		if _, err := fmt.Sscan(scanner.Text(), &kind, &digits); err != nil {
			return 2
		}
		data, err := hex.DecodeString(digits)
		if err != nil {
			return 2
		}
		f, err := again(kind, data)
		if err != nil {
			failed++
			f = fields{"kind": kind, "error": err.Error()}
		}
		say("message", f)
	}
	say("done", fields{"failed": failed})
	return 0
}

// MarshalJSON shows a key in an event.
func (e gossipEntry) MarshalJSON() ([]byte, error) {
	return json.Marshal(fields{"key": e.Key, "value": e.Value, "version": e.Version, "deleted": e.Deleted})
}
