package emf

// Metrics of the function usage, each written only where it is not 0. None has a
// dimension.
const (
	LinesCounted    = "LinesCounted"    // requests that were counted, and refusals of counted requests
	LinesDuplicate  = "LinesDuplicate"  // lines that another batch had brought
	LinesUnreadable = "LinesUnreadable" // lines that are neither of the two kinds: nothing was counted
	Unattributed    = "Unattributed"    // refusals whose key nobody knows
	Lag             = "Lag"             // milliseconds from a batch's newest request to its being counted; read its Maximum
	Drift           = "Drift"           // largest difference of a key's two witnesses; read its Maximum
	AlertsRaised    = "AlertsRaised"    // by the hourly sweep
	LateAccepts     = "LateAccepts"     // requests that an unguarded route let in when it no longer might; only where there are some
)

// Metrics of the function notify, likewise.
const (
	AlertsPublished   = "AlertsPublished"   // alerts put on the event bus
	WebhooksDelivered = "WebhooksDelivered" // deliveries that arrived
	WebhooksFailed    = "WebhooksFailed"    // attempts that did not
	WebhooksDead      = "WebhooksDead"      // deliveries given up after their last attempt
)
