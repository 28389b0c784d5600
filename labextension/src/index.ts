/** The sidebar of jupyter-resume, as plugins that can be disabled one by one. */

import { follower } from './plugins/follower';
import { identity } from './plugins/identity';
import { panel } from './plugins/panel';
import { recovery } from './plugins/recovery';
import { renderer } from './plugins/renderer';
import { status } from './plugins/status';

export default [follower, recovery, identity, panel, status, renderer];
