<?php
// Takes everything from the environment, as the well-known image does.
function clipper_env($name, $otherwise) {
	$v = getenv($name);
	return $v === false || $v === '' ? $otherwise : $v;
}

define('DB_HOST', clipper_env('WORDPRESS_DB_HOST', 'mysql'));
define('DB_NAME', clipper_env('WORDPRESS_DB_NAME', 'wordpress'));
define('DB_USER', clipper_env('WORDPRESS_DB_USER', 'root'));
define('DB_PASSWORD', clipper_env('WORDPRESS_DB_PASSWORD', ''));
define('DB_CHARSET', 'utf8mb4');
define('DB_COLLATE', '');
$table_prefix = clipper_env('WORDPRESS_TABLE_PREFIX', 'wp_');

// Every replica must agree on the keys, so they follow from what all replicas share.
foreach (array('AUTH_KEY', 'SECURE_AUTH_KEY', 'LOGGED_IN_KEY', 'NONCE_KEY', 'AUTH_SALT', 'SECURE_AUTH_SALT', 'LOGGED_IN_SALT', 'NONCE_SALT') as $key) {
	define($key, clipper_env('WORDPRESS_' . $key, hash('sha256', $key . DB_PASSWORD . DB_HOST . DB_NAME)));
}

// The site is wherever it was asked for: by pod address, service name or node port.
if (!empty($_SERVER['HTTP_HOST'])) {
	define('WP_HOME', 'http://' . $_SERVER['HTTP_HOST']);
	define('WP_SITEURL', 'http://' . $_SERVER['HTTP_HOST']);
}
define('WP_HTTP_BLOCK_EXTERNAL', true); // no calls to wordpress.org
define('DISABLE_WP_CRON', true);
define('AUTOMATIC_UPDATER_DISABLED', true);

if (!defined('ABSPATH')) {
	define('ABSPATH', __DIR__ . '/');
}
require_once ABSPATH . 'wp-settings.php';
