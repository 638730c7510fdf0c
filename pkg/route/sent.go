package route

import "strings"

// Sent is the path of a request as API Gateway takes it, without the stage: slashes in
// front are one (observed at AWS). Everything else stays as the client sent it.
func Sent(escaped string) string { return "/" + strings.TrimLeft(escaped, "/") }
