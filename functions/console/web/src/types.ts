// The answers of the API, as /openapi.json describes them. Only what the console reads.

export type Environment = "production" | "staging" | "development";
export const environments: Environment[] = ["production", "staging", "development"];

export type Status = "active" | "scheduled" | "inactive" | "expired" | "revoked";
export const statuses: Status[] = ["active", "scheduled", "inactive", "expired", "revoked"];

/** A time: RFC 3339 in UTC with milliseconds. */
export type Instant = string;

export interface Limit { window: "hour" | "day"; requests: number; used?: number }
export interface Quota { requests: number; refillDay: number; used?: number }

export interface Key {
  keyId: string;
  name: string;
  keyPrefix: string;
  plan: string;
  rateLimit: number;
  rateUsed: number;
  limits: Limit[];
  quota: Quota | null;
  lastUsed: Instant | null;
  createdAt: Instant;
  expirationTs: Instant | null;
  number: number;
  environment: Environment;
  status: Status;
  permissions: string[];
  permissionLabels: string[];
  customers: string[];
  networks: string[];
  notBefore: Instant | null;
  owner: string;
  isActive: boolean;
  isPrimary: boolean;
  canary: boolean;
  version: number;
  requestCount: number;
  updatedAt: Instant | null;
  rotatedAt: Instant | null;
  previousSecretUntil: Instant | null;
  deletedAt: Instant | null;
  createdBy: string | null;
}

export interface IssuedKey extends Key { apiKey: string }

/** From when a change is in force. guarded is "now" or a time. */
export interface Effective { guarded: "now" | Instant; unguardedBy: Instant }
export interface ChangeMeta { effective?: Effective; descendants?: number }
export interface ListMeta { total: number; next?: string }
export interface PageMeta { next?: string }

export interface Session {
  keyId: string;
  sessionOf: string;
  keyName: string | null;
  environment: Environment;
  createdAt: Instant;
  expirationTs: Instant;
  lastUsed: Instant | null;
  current: boolean;
}

export interface Self {
  keyId: string;
  name: string;
  environment: Environment;
  permissions: string[];
  customers: string[];
  networks: string[];
  expirationTs: Instant | null;
  sessionOf: string | null;
}

export interface Permission { name: string; label: string; wildcard: boolean }

export interface Account {
  accountId: string;
  name: string;
  plan: string;
  keyCount: number;
  keyLimit: number;
  environments: Environment[];
  plans: { name: string; rateLimit: number; developmentRateLimit: number; keys: number }[];
  /** Of a key that is created without one. */
  defaultPlan: string;
  cacheSeconds: number;
}

export interface Route {
  method: string;
  path: string;
  permission: string | null;
  credential: "X-API-Key" | "Authorization";
  customer: string | null;
  guarded: boolean;
  public: boolean;
}

export interface StatusCounts { "1xx": number; "2xx": number; "3xx": number; "4xx": number; "5xx": number }

export interface UsageBucket {
  start: Instant;
  requests: number;
  status: StatusCounts;
  generations: { generation: number; requests: number }[] | null;
}

export interface KeyUsage {
  keyId: string;
  requests: number;
  status: StatusCounts;
  buckets: UsageBucket[];
  permissions: { permission: string; requests: number; lastUsed: Instant | null }[] | null;
  secrets: { generation: number; requests: number; lastUsed: Instant | null; live: boolean; until: Instant | null }[] | null;
  firstUsed: Instant | null;
  lastUsed: Instant | null;
  lastRefused: Instant | null;
  drift: { counted: number; guard: number; difference: number };
}

export interface AccountUsage {
  starts: Instant[];
  requests: number;
  buckets: number[];
  keys: { keyId: string; keyName: string | null; requests: number; buckets: number[] }[] | null;
}

export interface RangeMeta { from: Instant; to: Instant; granularity: "hour" | "day" }

export interface LogRow {
  id: string;
  requestId: string;
  time: Instant;
  keyId: string;
  keyName: string | null;
  environment: Environment;
  generation: number | null;
  method: string | null;
  route: string | null;
  permission: string | null;
  status: number | null;
  latencyMs: number | null;
  sourceIp: string | null;
  userAgent: string | null;
  refused: string | null;
}

export interface Alert {
  alertId: string;
  kind: string;
  severity: "info" | "warning" | "critical";
  environment: Environment | null;
  keyId: string | null;
  keyName: string | null;
  subject: string;
  window: Instant;
  raisedAt: Instant;
  text: string;
  data: Record<string, string>;
  acknowledgedAt: Instant | null;
  acknowledgedBy: string | null;
  acknowledgedByName: string | null;
}

export interface AuditEvent {
  eventId: string;
  at: Instant;
  action: string;
  keyId: string | null;
  keyName: string | null;
  environment: Environment | null;
  actorKeyId: string | null;
  actorName: string | null;
  sessionId: string | null;
  before: Record<string, string>;
  after: Record<string, string>;
}

export interface Advice {
  keyId: string;
  recommendations: ("revoke" | "narrow" | "rotate")[] | null;
  conclusive: boolean;
  observedSince: Instant | null;
  keyUpdatedAt: Instant | null;
  permissions: { permission: string; lastUsed: Instant | null; used: { permission: string; lastUsed: Instant }[] | null }[] | null;
  patch?: { permissions: string[] };
  lastUsed: Instant | null;
  unused: boolean;
  secretSince: Instant;
  rotationDue: boolean;
}

export interface Simulation {
  allowed: boolean;
  status: number;
  reason: string;
  rule: string;
  decidedBy: "gateway" | "authorizer" | "policy" | "guard";
  route?: { method: string; path: string; credential: string };
  guarded: boolean;
  policy?: { effect: "allow" | "deny" | "implicit_deny"; statement: number | null; resource: string | null; written: boolean };
  guard?: { verdict: string; limit: number; remaining: number; retryAfterSeconds: number };
  permission: string | null;
  environment: Environment;
  at: Instant;
}
