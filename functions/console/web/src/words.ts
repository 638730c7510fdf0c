// The API's words in people's. What is not known here is shown as the API says it.

const refusals: Record<string, string> = {
  no_credential: "No key was sent",
  multiple_credentials: "Two keys were sent",
  malformed: "Not a key",
  unknown_key: "Unknown key",
  wrong_secret: "Wrong or replaced secret",
  revoked: "Key is revoked for good",
  inactive: "Key is inactive",
  expired: "Key has expired",
  not_yet_valid: "Key is not valid yet",
  wrong_environment: "Key of another environment",
  canary: "Canary key",
  session_ended: "Session has ended",
  missing_permission: "Permission is missing",
  other_customer: "Customer is not the key's",
  other_network: "Address is not allowed",
  management_only: "A session calls the management API alone",
  rate_limited: "Over its limit",
  missing_context: "Authorizer did not say whose key it is",
  unavailable: "Keyreeve was unavailable",
  other_function: "Route of another function",
};

/** Why a request was refused. */
export const refusedText = (reason: string) => refusals[reason] ?? reason;

const kinds: Record<string, string> = {
  near_limit: "Close to its limit",
  over_limit: "Over its limit",
  key_failures: "Many refusals of a key",
  source_failures: "Many refusals of an address",
  new_network: "Used from a new network",
  unusual_volume: "Unusually many requests",
  expiring_7d: "Expires within 7 days",
  expiring_1d: "Expires within a day",
  unused_90d: "Not used for 90 days",
  rotation_due: "Secret is due for rotation",
  canary_used: "Canary key was used",
  late_accept: "Let in when it had to be refused",
};

export const alertKinds = Object.keys(kinds);

/** What an alert is about. */
export const kindText = (kind: string) => kinds[kind] ?? kind;

const figures: Record<string, string> = {
  at: "Seen",
  baseline: "Requests in a usual hour",
  busiest: "Requests in the busiest hour before",
  changedAt: "Key changed",
  createdAt: "Key created",
  expiresAt: "Expires",
  hour: "Hour",
  lastUsed: "Last used",
  limit: "Limit, requests a minute",
  minutes: "Within minutes",
  network: "Network",
  requestId: "Request ID",
  requests: "Requests in the hour",
  secretSince: "Secret in use since",
  sourceIp: "Source address",
  threshold: "Refusals that raise this alert",
};

/** What a figure of an alert's data is. */
export const figureText = (name: string) => figures[name] ?? name;
