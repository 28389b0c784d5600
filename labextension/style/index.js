import './panel.css';
import './output.css';
