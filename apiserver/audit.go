package apiserver

import (
	"encoding/hex"
	"math/rand/v2"
)

var noCache = []string{"no-cache, private"}

// identify gives the request its identity, and the answer the headers that all have.
func (q *request) identify() {
	h := q.w.Header()
	q.auditID = q.r.Header.Get("Audit-Id")
	if q.auditID == "" {
		q.auditID = randomUUID()
	}
	h["Audit-Id"] = []string{q.auditID}
	h["Cache-Control"] = noCache
}

// randomUUID is for telling requests apart in logs, not for secrets.
func randomUUID() string {
	var b [16]byte
	hi, lo := rand.Uint64(), rand.Uint64()
	for i := range 8 {
		b[i], b[8+i] = byte(hi>>(8*i)), byte(lo>>(8*i))
	}
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	var out [36]byte
	hex.Encode(out[:8], b[:4])
	hex.Encode(out[9:13], b[4:6])
	hex.Encode(out[14:18], b[6:8])
	hex.Encode(out[19:23], b[8:10])
	hex.Encode(out[24:], b[10:])
	out[8], out[13], out[18], out[23] = '-', '-', '-', '-'
	return string(out[:])
}
