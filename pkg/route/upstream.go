package route

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// What an upstream's answer may take, in seconds. API Gateway waits for 29
// (https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-execution-service-limits-table.html),
// and the guard needs a moment before.
const (
	defaultTimeoutSeconds = 25
	maxTimeoutSeconds     = 28
)

// maxURLLen in characters leaves room for the path within what servers take.
const maxURLLen = 1024

// checkUpstream checks a row that has an upstream.
func (l *loader) checkUpstream(r *row) {
	u := &r.Upstream
	u.URL = strings.TrimSuffix(u.URL, "/") // paths bring their own
	switch {
	case r.own:
		l.fail(r.label, "upstream", "management routes are served here and nowhere else")
	case r.Function != "":
		l.fail(r.label, "upstream", "a route has a function or an upstream, not both")
	}
	// The forwarder is where the guard stands and where the credential is taken away.
	if r.Unguarded {
		l.fail(r.label, "unguarded", "a route with an upstream is always guarded")
	}
	switch {
	case (u.URL == "") == (u.Lambda == ""):
		l.fail(r.label, "upstream", "want either url or lambda")
	case u.URL != "" && !baseURL(u.URL):
		l.fail(r.label, "upstream.url", "want http:// or https:// with a host, perhaps a port and a path, and nothing else: no user, no query, no fragment, no empty or dot segments")
	case u.Lambda != "" && !functionARN(u.Lambda):
		l.fail(r.label, "upstream.lambda", "want the ARN of a function such as arn:aws:lambda:eu-central-1:123456789012:function:orders, perhaps with a version or an alias")
	}
	if u.TimeoutSeconds < 1 || u.TimeoutSeconds > maxTimeoutSeconds {
		l.fail(r.label, "upstream.timeoutSeconds", "want 1 to %d", maxTimeoutSeconds)
	}
}

// baseURL reports whether s is a URL that paths can be put behind.
func baseURL(s string) bool {
	rest, ok := strings.CutPrefix(s, "https://")
	if !ok {
		rest, ok = strings.CutPrefix(s, "http://")
	}
	if _, err := url.Parse(s); err != nil || !ok || len(s) > maxURLLen {
		return false
	}
	host, path, deeper := strings.Cut(rest, "/")
	if !deeper {
		return hostPort(host)
	}
	for part := range strings.SplitSeq(path, "/") {
		if part == "" || part == "." || part == ".." || !only(part, "-._~!$&'()*+,;=:@%") {
			return false
		}
	}
	return hostPort(host)
}

// hostPort reports whether s is a host name or an address, perhaps with a port.
func hostPort(s string) bool {
	host, port, given := s, "", false
	if v6, ok := strings.CutPrefix(s, "["); ok {
		var rest string
		if host, rest, ok = strings.Cut(v6, "]"); !ok || !only(host, ":.") {
			return false
		}
		if port, given = strings.CutPrefix(rest, ":"); !given && rest != "" {
			return false
		}
	} else if host, port, given = strings.Cut(s, ":"); !only(host, "-._") {
		return false
	}
	if given {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return false
		}
	}
	return host != ""
}

// functionARN reports whether s names a Lambda function, perhaps with a qualifier
// (https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html, FunctionName).
func functionARN(s string) bool {
	p := strings.Split(s, ":")
	if len(p) != 7 && len(p) != 8 {
		return false
	}
	part := func(i int, more string, most int) bool { return p[i] != "" && len(p[i]) <= most && only(p[i], more) }
	return p[0] == "arn" && strings.HasPrefix(p[1], "aws") && part(1, "-", 32) && p[2] == "lambda" && part(3, "-", 32) &&
		len(p[4]) == 12 && !slices.ContainsFunc([]byte(p[4]), func(c byte) bool { return c < '0' || c > '9' }) &&
		p[5] == "function" && part(6, "-_", 64) && (len(p) == 7 || part(7, "-_$", 128))
}
