// What every page may need and hardly ever changes.
import { get } from "./api";
import { holds } from "./permissions";
import { keep, useQuery } from "./query";
import type { Account, Permission, Route, Self } from "./types";

export const catalogue = () => keep("permissions", async () => (await get<Permission[]>("/v1/permissions")).data);
export const account = () => keep("account", async () => (await get<Account>("/v1/account")).data);
export const routes = () => keep("routes", async () => (await get<Route[]>("/v1/routes")).data);
export const self = () => keep("self", async () => (await get<Self>("/v1/api-keys/self")).data);

export const useCatalogue = () => useQuery("permissions", catalogue);
export const useAccount = () => useQuery("account", account);
export const useRoutes = () => useQuery("routes", routes);
/** The session itself: what it holds is what it can grant. */
export const useSelf = () => useQuery("self", self);

/** Whether the session may change keys; until that is known, it may. */
export function useMayManage(): boolean {
  const { data } = useSelf();
  return !data || holds(data.permissions, "api_keys:write");
}
