package apiserver

import (
	"context"
	"net/http"
	"strings"

	"k8s.io/streaming/pkg/httpstream"

	"clipper/apiserver/aggregation"
)

// extensions returns what other servers answer for; nil for nothing.
func (s *Server) extensions() *aggregation.Directory {
	if s.options.Extensions == nil {
		return nil
	}
	return s.options.Extensions()
}

// extension returns the extension that the request is for, or nil.
func (q *request) extension() *aggregation.Extension {
	d := q.s.extensions()
	if d == nil {
		return nil
	}
	switch q.info.Prefix {
	case "api":
		return d.Find("", "v1")
	case "apis":
		return d.Find(q.info.Group, q.info.Version)
	case "openapi":
		if path, ok := strings.CutPrefix(q.info.Path, "/openapi/v3/apis/"); ok {
			group, version := next(path)
			return d.Find(group, version)
		}
	}
	return nil
}

// passOn lets the extension's server answer.
func (q *request) passOn(e *aggregation.Extension) {
	ctx, done := q.r.Context(), context.CancelFunc(func() {})
	upgrade := httpstream.IsUpgradeRequest(q.r)
	if q.info.Verb == "watch" || upgrade {
		ctx, done = q.longRunning(0)
		q.release() // another server does the work
	}
	defer done()
	r := q.r.WithContext(ctx)
	if q.auditID != "" {
		r.Header.Set("Audit-Id", q.auditID)
	}
	if upgrade { // the proxy takes the connection over, which a recorder would hide
		q.code, q.wrote = http.StatusSwitchingProtocols, true
		e.Serve(q.w, r, q.user)
		return
	}
	rec := &codeRecorder{ResponseWriter: q.w}
	e.Serve(rec, r, q.user)
	q.code, q.wrote = rec.code, true
}
