package main

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
)

// What a process that looks at files and the one that has them say to each
// other, each message with its length before it:
//
//	worker            other
//	next              file, or end
//	read              data, or fail
//	found
//	done
//	failed
const (
	msgStart  = 's' // startMessage: the first one, to the worker
	msgNext   = 'n' // give me another file
	msgFile   = 'f' // fileMessage
	msgEnd    = 'e' // there is none
	msgRead   = 'r' // readMessage
	msgData   = 'd' // the bytes
	msgFail   = 'x' // they cannot be had
	msgFound  = 'o' // a [scan.Result]: what the file came to
	msgDone   = 'z' // that was the last of them
	msgFailed = 'y' // a text: the scan ended with an error
)

type (
	startMessage struct {
		Sparse bool  `json:"sparse"`
		Fetch  int64 `json:"fetch"`
	}
	fileMessage struct {
		Path string `json:"path"`
		Size int64  `json:"size"`
	}
	readMessage struct {
		Offset int64 `json:"offset"`
		Length int   `json:"length"`
	}
)

const (
	// maxRead is the most that one message asks for.
	maxRead = 1 << 20

	// maxWire bounds a message: the findings of one file, the longest of
	// them.
	maxWire = 16 << 20
)

// A wire carries messages. It is for one goroutine.
type wire struct {
	r *bufio.Reader
	w *bufio.Writer
}

func newWire(r io.Reader, w io.Writer) *wire {
	return &wire{bufio.NewReaderSize(r, 64<<10), bufio.NewWriterSize(w, 64<<10)}
}

// send writes a message.
func (c *wire) send(kind byte, body []byte) error {
	var head [5]byte
	head[0] = kind
	binary.BigEndian.PutUint32(head[1:], uint32(len(body)))
	if _, err := c.w.Write(head[:]); err != nil {
		return err
	}
	if _, err := c.w.Write(body); err != nil {
		return err
	}
	return c.w.Flush()
}

// sendJSON writes a message whose body is v.
func (c *wire) sendJSON(kind byte, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return c.send(kind, body)
}

// receive reads a message.
func (c *wire) receive() (kind byte, body []byte, err error) {
	var head [5]byte
	if _, err := io.ReadFull(c.r, head[:]); err != nil {
		return 0, nil, err
	}
	n := binary.BigEndian.Uint32(head[1:])
	if n > maxWire {
		return 0, nil, fmt.Errorf("message of %d bytes", n)
	}
	body = make([]byte, n)
	_, err = io.ReadFull(c.r, body)
	return head[0], body, err
}
