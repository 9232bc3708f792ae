package h2

import "encoding/binary"

// What of RFC 9113, sections 3.4, 6 and 6.9, a conn has to know.
const (
	prefaceSize = len("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n") // what a client sends before its first frame
	headerSize  = 9
	updateSize  = headerSize + 4
	settingSize = 6
	maxWindow   = 1<<31 - 1

	typeData         = 0x0
	typeHeaders      = 0x1
	typeReset        = 0x3
	typeSettings     = 0x4
	typeWindowUpdate = 0x8
	typeContinuation = 0x9

	flagEndStream  = 0x1 // of DATA and HEADERS
	flagAck        = 0x1 // of SETTINGS
	flagEndHeaders = 0x4 // of HEADERS and CONTINUATION

	settingInitialWindowSize = 0x4
)

// A header is that of a frame.
type header struct {
	length      int
	kind, flags byte
	stream      uint32
}

func parseHeader(b []byte) header {
	return header{
		length: int(b[0])<<16 | int(b[1])<<8 | int(b[2]),
		kind:   b[3],
		flags:  b[4],
		stream: binary.BigEndian.Uint32(b[5:]) & maxWindow,
	}
}

// An update is a WINDOW_UPDATE frame.
type update struct {
	stream    uint32 // 0: of the connection
	increment uint32
}

func (u update) appendTo(dst []byte) []byte {
	dst = append(dst, 0, 0, updateSize-headerSize, typeWindowUpdate, 0)
	dst = binary.BigEndian.AppendUint32(dst, u.stream)
	return binary.BigEndian.AppendUint32(dst, u.increment)
}

// parseUpdate reads what follows h.
func parseUpdate(h header, payload []byte) update {
	return update{stream: h.stream, increment: binary.BigEndian.Uint32(payload) & maxWindow}
}

// initialWindow finds the size that streams begin with among settings; -1: they do not say.
func initialWindow(settings []byte) int64 {
	size := int64(-1)
	for ; len(settings) >= settingSize; settings = settings[settingSize:] {
		if binary.BigEndian.Uint16(settings) != settingInitialWindowSize {
			continue
		}
		if v := binary.BigEndian.Uint32(settings[2:]); v <= maxWindow {
			size = int64(v)
		}
	}
	return size
}
