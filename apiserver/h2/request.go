package h2

import (
	"fmt"
	"net/http"
	"net/textproto"
	"net/url"
	"strconv"
	"strings"

	"golang.org/x/net/http/httpguts"
	"golang.org/x/net/http2"
)

// headersLocked opens a stream, or takes the trailer of one that is there.
func (c *conn) headersLocked(f *http2.MetaHeadersFrame) error {
	id := f.StreamID
	if id%2 != 1 {
		return http2.ConnectionError(http2.ErrCodeProtocol)
	}
	if st := c.streams[id]; st != nil {
		return st.trailerLocked(f)
	}
	if c.away && id > c.newest {
		return nil // the client has been told that it is not served
	}
	if id <= c.newest {
		return http2.ConnectionError(http2.ErrCodeStreamClosed) // section 5.1.1, and for closed ones 5.1
	}
	c.newest = id
	head := headSize(f)
	if !c.load.fits(len(c.streams), head) {
		return http2.StreamError{StreamID: id, Code: http2.ErrCodeRefusedStream} // it may not have had our settings
	}
	if f.HasPriority() && f.Priority.StreamDep == id {
		return http2.StreamError{StreamID: id, Code: http2.ErrCodeProtocol}
	}
	st := c.openLocked(id, head, f.StreamEnded())
	if fault := st.readHead(f); fault != "" {
		return http2.StreamError{StreamID: id, Code: http2.ErrCodeProtocol, Cause: fmt.Errorf("http2: %s", fault)}
	}
	return c.startLocked(st)
}

// trailerLocked takes the fields behind a body.
func (st *stream) trailerLocked(f *http2.MetaHeadersFrame) error {
	switch {
	case st.ended:
		return http2.StreamError{StreamID: st.id, Code: http2.ErrCodeStreamClosed}
	case !f.StreamEnded(), len(f.PseudoFields()) > 0:
		return http2.StreamError{StreamID: st.id, Code: http2.ErrCodeProtocol}
	}
	for _, field := range f.RegularFields() {
		key := st.c.names.canonical(field.Name)
		if !httpguts.ValidTrailerHeader(key) {
			return http2.StreamError{StreamID: st.id, Code: http2.ErrCodeProtocol}
		}
		if _, announced := st.request.Trailer[key]; announced {
			if st.trailer == nil {
				st.trailer = http.Header{}
			}
			st.trailer.Add(key, field.Value)
		}
	}
	return st.endLocked()
}

// endLocked is when a request has come whole. It must be as long as it said (section 8.1.1).
func (st *stream) endLocked() error {
	st.ended = true
	if st.declared >= 0 && st.declared != st.got {
		err := fmt.Errorf("request declared a Content-Length of %d but only wrote %d bytes", st.declared, st.got)
		st.body.end(err)
		return http2.StreamError{StreamID: st.id, Code: http2.ErrCodeProtocol, Cause: err}
	}
	st.body.end(nil)
	return nil
}

// dataLocked takes a part of a body.
func (c *conn) dataLocked(f *http2.DataFrame) error {
	id, size := f.StreamID, f.Length
	st := c.streams[id]
	if st == nil {
		if err := c.mustHaveBeenLocked(id); err != nil {
			return err
		}
	}
	if !c.in.take(size) {
		return http2.ConnectionError(http2.ErrCodeFlowControl)
	}
	if st == nil || st.ended {
		c.giveBackLocked(nil, int(size))
		if c.away && id > c.newest {
			return nil
		}
		return http2.StreamError{StreamID: id, Code: http2.ErrCodeStreamClosed}
	}
	data := f.Data()
	st.got += int64(len(data))
	if !st.in.take(size) {
		c.giveBackLocked(nil, int(size))
		return http2.StreamError{StreamID: id, Code: http2.ErrCodeFlowControl}
	}
	if st.declared >= 0 && st.got > st.declared {
		c.giveBackLocked(nil, int(size))
		return http2.StreamError{StreamID: id, Code: http2.ErrCodeProtocol,
			Cause: fmt.Errorf("sender tried to send more than declared Content-Length of %d bytes", st.declared)}
	}
	if kept := st.body.write(data); kept {
		c.giveBackLocked(st, int(size)-len(data)) // padding
	} else {
		c.giveBackLocked(nil, int(size)) // nobody will read it; of this stream no more is wanted
	}
	if f.StreamEnded() {
		return st.endLocked()
	}
	return nil
}

// readHead makes a request of a block of fields, or returns what is wrong with it (RFC 9113, section 8.3.1).
func (st *stream) readHead(f *http2.MetaHeadersFrame) (fault string) {
	method, scheme, authority, path := f.PseudoValue("method"), f.PseudoValue("scheme"), f.PseudoValue("authority"), f.PseudoValue("path")
	connect := method == http.MethodConnect
	switch {
	case f.PseudoValue("protocol") != "":
		return "extended CONNECT is not offered"
	case connect && (path != "" || scheme != "" || authority == ""):
		return "CONNECT takes :authority alone"
	case !connect && (method == "" || path == "" || scheme != "https" && scheme != "http"):
		return "a request needs :method, :scheme and :path"
	case strings.Contains(authority, "@") && !connect:
		return ":authority names a user"
	}
	header := st.c.header(f)
	if authority == "" {
		authority = header.Get("Host")
	}
	target, err := targetOf(connect, authority, path)
	if err != nil {
		return err.Error()
	}
	r := &http.Request{Method: method, URL: target, RequestURI: path, Proto: "HTTP/2.0", ProtoMajor: 2, Header: header,
		Host: authority, RemoteAddr: st.c.remote, Body: http.NoBody, Trailer: announced(header)}
	if connect {
		r.RequestURI = authority
	}
	if scheme == "https" {
		r.TLS = &st.c.state
	}
	if httpguts.HeaderValuesContainsToken(header["Expect"], "100-continue") {
		delete(header, "Expect")
		st.body.awaited = !st.ended
	}
	if !st.ended {
		r.ContentLength = declared(header)
		st.declared = r.ContentLength
		r.Body = &st.body
	}
	st.handler = handlerFor(st.c.handler, f, header)
	st.request = r.WithContext(st.ctx)
	return ""
}

// header returns a request's fields.
func (c *conn) header(f *http2.MetaHeadersFrame) http.Header {
	fields := f.RegularFields()
	h := make(http.Header, len(fields))
	values := make([]string, len(fields)) // one allocation for all
	for i, field := range fields {
		key := c.names.canonical(field.Name)
		if old, more := h[key]; more {
			h[key] = append(old, field.Value)
			continue
		}
		values[i] = field.Value
		h[key] = values[i : i+1 : i+1]
	}
	if cookies := h["Cookie"]; len(cookies) > 1 { // split for the sake of compression: section 8.2.3
		h["Cookie"] = []string{strings.Join(cookies, "; ")}
	}
	return h
}

func targetOf(connect bool, authority, path string) (*url.URL, error) {
	if connect {
		return &url.URL{Host: authority}, nil
	}
	if path[0] != '/' && path != "*" {
		return nil, fmt.Errorf(":path %q is not absolute", path)
	}
	return url.ParseRequestURI(path)
}

// announced takes the names of the trailer's fields out of a request's header.
func announced(h http.Header) (trailer http.Header) {
	for _, v := range h["Trailer"] {
		for _, key := range strings.Split(v, ",") {
			key = textproto.CanonicalMIMEHeaderKey(textproto.TrimString(key))
			if !httpguts.ValidTrailerHeader(key) {
				continue
			}
			if trailer == nil {
				trailer = http.Header{}
			}
			trailer[key] = nil
		}
	}
	delete(h, "Trailer")
	return trailer
}

// declared is how long a body is to be; -1: not said.
func declared(h http.Header) int64 {
	v, said := h["Content-Length"]
	if !said {
		return -1
	}
	n, err := strconv.ParseUint(v[0], 10, 63)
	if err != nil {
		return 0
	}
	return int64(n) // #nosec G115 -- 63 bits
}

// handlerFor returns who answers: requests that have no meaning are not shown to h.
func handlerFor(h http.Handler, f *http2.MetaHeadersFrame, header http.Header) http.Handler {
	if f.Truncated {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "Request Header Field(s) Too Large", http.StatusRequestHeaderFieldsTooLarge)
		})
	}
	for _, key := range connectionFields {
		if _, ok := header[key]; ok {
			return refusal(fmt.Sprintf("request header %q is not valid in HTTP/2", key))
		}
	}
	if te := header["Te"]; len(te) > 1 || len(te) == 1 && te[0] != "trailers" && te[0] != "" {
		return refusal(`request header "TE" may only be "trailers" in HTTP/2`)
	}
	return h
}

func refusal(why string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, why, http.StatusBadRequest) })
}

// connectionFields are about a connection of HTTP/1 (RFC 9113, section 8.2.2).
var connectionFields = []string{"Connection", "Keep-Alive", "Proxy-Connection", "Transfer-Encoding", "Upgrade"}

// names remember fields' names as Go writes them: of those that are not known to all, each would be made anew for every
// request.
type names map[string]string

// namesLimit bounds what a client may have remembered.
const namesLimit = 100

func (n *names) canonical(lower string) string {
	if c, ok := (*n)[lower]; ok {
		return c
	}
	c := textproto.CanonicalMIMEHeaderKey(lower)
	if *n == nil {
		*n = names{}
	}
	if len(*n) < namesLimit && len(lower) <= 64 {
		(*n)[strings.Clone(lower)] = c
	}
	return c
}
