/** `<launchSecurity>`. */
import { type Infer, struct } from '../schema/schema.ts';

export const launchSecurity = struct({});
export interface LaunchSecurity extends Infer<typeof launchSecurity> {}
