package h2

import (
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// lowered are names of answers' fields as HTTP/2 writes them. Handlers use few, from constants.
var (
	lowered     sync.Map // of string to string
	loweredSize atomic.Int32
)

// loweredLimit bounds what is remembered: proxies hand on whatever names others choose.
const loweredLimit = 500

// lower returns a field's name in lower case.
func lower(key string) string {
	if name, ok := lowered.Load(key); ok {
		return name.(string)
	}
	name := strings.ToLower(key)
	if len(key) <= 64 && loweredSize.Load() < loweredLimit {
		loweredSize.Add(1)
		lowered.Store(strings.Clone(key), name)
	}
	return name
}

// A stamp is a second as the Date field writes it.
type stamp struct {
	second int64
	text   string
}

var lastStamp atomic.Pointer[stamp]

// date returns the time for the Date field.
func date() string {
	now := time.Now()
	if s := lastStamp.Load(); s != nil && s.second == now.Unix() {
		return s.text
	}
	s := &stamp{now.Unix(), now.UTC().Format(http.TimeFormat)}
	lastStamp.Store(s)
	return s.text
}
