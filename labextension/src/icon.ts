/** The sidebar's icon: a curve that breaks off and goes on. */

import { LabIcon } from '@jupyterlab/ui-components';

export const resumeIcon = new LabIcon({
  name: 'jupyter-resume:icon',
  svgstr: `<svg xmlns="http://www.w3.org/2000/svg" width="16" height="16" viewBox="0 0 16 16">
  <g class="jp-icon3 jp-icon-selectable" stroke="#616161" stroke-width="1.6" stroke-linecap="round" stroke-linejoin="round">
    <path style="fill:none" d="M1.7 2.2c.5 4.6 1.7 7.3 4.3 8.6"/>
    <path style="fill:none" d="M9 12.1c1.6.5 3.3.7 5.3.7"/>
    <path class="jp-icon3 jp-icon-selectable" fill="#616161" d="M9.2 3.1v5l4.6-2.5z"/>
  </g>
</svg>`
});
